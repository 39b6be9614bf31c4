//! Real servers to compare with: those on PATH and those that `make servers` unpacked.

use crate::client::Client;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LOG: &str = "server.log";

/// A server without persistence that restarts is empty, although a full sync went by its disk.
const FIXED: [&str; 4] =
    ["--enable-debug-command yes", "--repl-diskless-sync-delay 0", "--appendonly no", "--rdb-del-sync-files yes"];

/// A server program.
#[derive(Clone, Debug)]
pub struct Binary {
    pub name: String,
    path: PathBuf,
}

impl Binary {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Every server program on this machine, each version once.
pub fn binaries() -> Vec<Binary> {
    let on_path = ["redis-server", "valkey-server"].into_iter().filter_map(|name| {
        let path = std::env::var_os("PATH")?;
        let path = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())?;
        Some(Binary { name: name.to_owned(), path })
    });
    let unpacked = std::fs::read_dir(servers_dir()).into_iter().flatten().flatten().filter_map(|entry| {
        let path = entry.path().join("server");
        path.is_file().then(|| Binary { name: entry.file_name().to_string_lossy().into_owned(), path })
    });
    let mut all: Vec<Binary> = on_path.chain(unpacked).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// A `valkey-benchmark` with the option `--fuzz`, unpacked or on PATH.
pub fn fuzzer() -> Option<Binary> {
    let unpacked =
        std::fs::read_dir(servers_dir()).into_iter().flatten().flatten().map(|entry| entry.path().join("benchmark"));
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|dir| dir.join("valkey-benchmark")).collect::<Vec<_>>());
    let mut found = unpacked.chain(on_path).filter(|path| can_fuzz(path));
    found.next().map(|path| Binary { name: "valkey-benchmark".to_owned(), path })
}

fn can_fuzz(path: &Path) -> bool {
    let help = Command::new(path).arg("--help").stdin(Stdio::null()).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--fuzz "))
}

fn servers_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.servers")
}

/// A running server. Dropping this value ends it.
pub struct Server {
    child: Child,
    program: PathBuf,
    arguments: Vec<String>,
    dir: PathBuf,
    pub port: u16,
    /// `redis` or `valkey`; then the server's version.
    pub kind: String,
    pub version: String,
}

impl Server {
    pub fn start(binary: &Binary, settings: &[String]) -> io::Result<Self> {
        // Another process may have taken the port meanwhile.
        let mut last = Self::start_once(binary, settings);
        for _ in 0..3 {
            if last.is_ok() {
                break;
            }
            last = Self::start_once(binary, settings);
        }
        last
    }

    fn start_once(binary: &Binary, settings: &[String]) -> io::Result<Self> {
        let port = free_port()?;
        let dir = std::env::temp_dir().join(format!("vdr-testkit-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let mut arguments = vec!["--port".to_owned(), port.to_string(), "--save".to_owned(), String::new()];
        arguments.extend(["--dir".to_owned(), dir.to_string_lossy().into_owned()]);
        for fixed in FIXED {
            arguments.extend(fixed.split(' ').map(str::to_owned));
        }
        arguments.extend(["--logfile".to_owned(), LOG.to_owned()]);
        arguments.extend(settings.iter().cloned());
        let program = binary.path.clone();
        let child = spawn(&program, &arguments)?;
        let (kind, version) = (String::new(), String::new());
        let mut server = Server { child, program, arguments, dir, port, kind, version };
        server.await_start()?;
        Ok(server)
    }

    /// Kills the server at once; what it had not saved is lost.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts the server again with the same port and folder, after a shutdown or a kill.
    pub fn restart(&mut self) -> io::Result<()> {
        self.child.wait()?;
        self.child = spawn(&self.program, &self.arguments)?;
        self.await_start()
    }

    /// The server's working folder: sockets, certificates, its own files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn client(&self) -> io::Result<Client> {
        Client::connect(self.port)
    }

    /// How the server ended, if it did. Waits a moment for the end of its log.
    pub fn end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn await_start(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.client().and_then(|mut client| client.call(&["INFO", "server"]));
            match answer {
                Ok(info) if info.text().contains("redis_version") => {
                    self.identify(&info.text());
                    return Ok(());
                }
                _ if Instant::now() > deadline => return Err(io::Error::other("the server does not start")),
                _ if self.child.try_wait()?.is_some() => return Err(io::Error::other("the server stopped at once")),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn identify(&mut self, info: &str) {
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned());
        let valkey = field("valkey_version:");
        self.kind = if valkey.is_some() { "valkey" } else { "redis" }.to_owned();
        self.version = valkey.or_else(|| field("redis_version:")).unwrap_or_default();
    }
}

/// A port that is free, and stays so: the system takes the ports of connections and of `bind(0)`
/// from a higher range, and this process gets another port each time. A process beside it begins
/// elsewhere.
pub fn free_port() -> io::Result<u16> {
    const FIRST: u32 = 20_500;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut taken = io::Error::other("no port is free");
    for _ in 0..COUNT {
        let number = std::process::id().wrapping_mul(7919).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT).map_err(io::Error::other)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

fn spawn(program: &Path, arguments: &[String]) -> io::Result<Child> {
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
