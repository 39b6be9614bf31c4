// Stands in for the parts of Luau that mlua names and no script reaches: `require`, which mlua puts
// into each interpreter and the sandbox takes out, and the inliner of machine code.

#include "lua.h"
#include "lualib.h"

static int absent(lua_State* L)
{
    luaL_error(L, "require is not part of this library");
}

// mlua gives the first upvalue a metatable.
static int pushAbsent(lua_State* L)
{
    lua_newuserdata(L, 1);
    lua_pushcclosurek(L, absent, "require", 1, nullptr);
    return 1;
}

extern "C" int luarequire_pushrequire(lua_State* L, void*, void*)
{
    return pushAbsent(L);
}

extern "C" int luarequire_pushproxyrequire(lua_State* L, void*, void*)
{
    return pushAbsent(L);
}

extern "C" int luarequire_registermodule(lua_State* L)
{
    return absent(L);
}

extern "C" int luarequire_clearcacheentry(lua_State*)
{
    return 0;
}

extern "C" int luarequire_clearcache(lua_State*)
{
    return 0;
}

extern "C" void luau_enable_jit_inliner(lua_State*) {}

extern "C" void luau_disable_jit_inliner(lua_State*) {}
