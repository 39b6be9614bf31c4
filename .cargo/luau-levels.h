// How much GCC optimises each part of the Lua engine. Its interpreter runs in every script and keeps
// the level of the build. Its parser and compiler run once per script. Its inliner of machine code
// and its `require` never run, but mlua links them. A part is known by the headers that it sees.
// Another compiler ignores this file.
#if defined(__GNUC__) && !defined(__clang__)
#if __has_include("luajitinliner.h") || __has_include("Luau/LuauConfig.h")
#pragma GCC optimize("O0")
#elif __has_include("Luau/Ast.h") || __has_include("Luau/BytecodeBuilder.h")
#pragma GCC optimize("O1")
#endif
#endif
