//! Compiles the Lua engine from the sources in `luau0-src`.
//!
//! That crate would compile each of some 70 files alone, and spend most of the time on the same
//! C++ headers. It would compile `require` and the inliner of machine code, too, which no script
//! reaches. Here the files of a part are one compilation, and `src/absent.cpp` stands in for what
//! is left out. Where the sources cannot be found, `luau0-src` compiles all of them its way.

#![allow(clippy::expect_used, reason = "a script that cannot build ends with the reason")]

use std::env;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const STAND_INS: &str = "src/absent.cpp";

/// The most stack slots of a function: what mlua assumes.
const MAX_STACK: &str = "1000000";

struct Part {
    name: &'static str,
    /// How far a release optimises it, in GCC's words.
    level: &'static str,
    folders: &'static [&'static str],
    /// Files that are compiled alone: one that uses a name of another file, and one that is long.
    alone: &'static [&'static str],
    /// Ours.
    stand_ins: &'static [&'static str],
}

/// The interpreter has the level that is measured: a third costs seconds and gives nothing. The
/// parser and the compiler run once per script.
const PARTS: [Part; 2] = [
    Part {
        name: "compiler",
        level: "g",
        folders: &["Common", "Ast", "Bytecode", "Compiler"],
        alone: &[],
        stand_ins: &[],
    },
    Part {
        name: "interpreter",
        level: "2",
        folders: &["VM", "Custom"],
        alone: &["lveclib.cpp", "lvmexecute.cpp"],
        stand_ins: &[STAND_INS],
    },
];

/// They print programs, or serve the parts that are left out.
const LEFT_OUT: [&str; 4] = ["PrettyPrinter.cpp", "BytecodeGraph.cpp", "Sccp.cpp", "TimeTrace.cpp"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={STAND_INS}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    match sources() {
        Some(luau) => PARTS.iter().for_each(|part| part.compile(&luau, &out)),
        None => compile_all(&out),
    }
}

impl Part {
    fn compile(&self, luau: &Path, out: &Path) {
        let (alone, together): (Vec<_>, Vec<_>) =
            self.files(luau).into_iter().partition(|file| self.alone.iter().any(|name| file.ends_with(name)));
        assert_eq!(alone.len(), self.alone.len(), "luau0-src has other files than this script knows");
        let unit = out.join(format!("{}.cpp", self.name));
        let includes = together.iter().map(|file| format!("#include {:?}\n", file.display().to_string()));
        fs::write(&unit, includes.collect::<String>()).expect("OUT_DIR can be written");

        let mut build = cpp();
        for folder in ["Common", "Ast", "Bytecode", "Compiler", "VM"] {
            build.include(luau.join(folder).join("include")).include(luau.join(folder).join("src"));
        }
        build
            .opt_level_str(&self.level())
            .define("LUAI_MAXCSTACK", MAX_STACK)
            .define("LUA_VECTOR_SIZE", "3")
            .define("LUA_API", "extern \"C\"")
            .define("LUACODE_API", "extern \"C\"")
            .file(&unit)
            .files(&alone)
            .files(self.stand_ins);
        if cfg!(debug_assertions) {
            build.define("LUAU_ENABLE_ASSERT", None);
        } else {
            build.flag_if_supported("-fno-math-errno");
        }
        // GCC's manual advises it for computed gotos, which the interpreter consists of.
        build.flag_if_supported("-fno-gcse");
        // The linker sees this library before those that call it.
        build.link_lib_modifier("+whole-archive").compile(&format!("vdr_luau_{}", self.name));
    }

    /// Tests are built at a low level.
    fn level(&self) -> String {
        env::var("OPT_LEVEL").ok().filter(|level| matches!(level.as_str(), "0" | "1")).unwrap_or(self.level.into())
    }

    fn files(&self, luau: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            self.folders.iter().flat_map(|folder| cpp_files(&luau.join(folder).join("src"))).collect();
        files.retain(|file| !LEFT_OUT.iter().any(|name| file.ends_with(name)));
        files
    }
}

fn cpp_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("luau0-src has the folders that this script knows");
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "cpp"));
    files.sort();
    files
}

/// As mlua would have it compiled.
fn compile_all(out: &Path) {
    let engine = luau0_src::Build::new().set_max_cstack_size(MAX_STACK.parse().expect("a number")).build();
    println!("cargo::rustc-link-search=native={}", engine.lib_dir().display());
    for library in engine.libs() {
        println!("cargo::rustc-link-lib=static:+whole-archive={library}");
    }
    // `cc` knows the library of C++, and links it to what it compiles.
    let nothing = out.join("nothing.cpp");
    fs::write(&nothing, "").expect("OUT_DIR can be written");
    cpp().file(nothing).compile("vdr_luau_nothing");
}

fn cpp() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").warnings(false);
    build
}

/// The folder of Luau in `luau0-src`. That crate does not tell where it lies, but a panic in it
/// does, and it panics when asked for vectors of no size. A compiler that was told to rewrite paths
/// rewrites this one, too.
fn sources() -> Option<PathBuf> {
    let file = Arc::new(Mutex::new(PathBuf::new()));
    let seen = file.clone();
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if let (Some(place), Ok(mut seen)) = (panic.location(), seen.lock()) {
            *seen = PathBuf::from(place.file());
        }
    }));
    let outcome = panic::catch_unwind(|| {
        luau0_src::Build::new().set_vector_size(0);
    });
    panic::set_hook(usual);
    outcome.err()?;
    let luau = file.lock().ok()?.parent()?.parent()?.join("luau");
    luau.join("VM").is_dir().then_some(luau)
}
