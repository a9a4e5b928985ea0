--- Passed sockets: the variables that describe them, and which address of a config means which.
local lu = require "luaunit"
local passed = require "brood.rules.passed"

local function names(environ)
  return passed.names(environ, 7)
end

return {
  ["without the variables, or with those of another process, nothing was passed"] = function()
    lu.assertNil(names {})
    lu.assertNil(names { LISTEN_FDS = "2" })
    lu.assertNil(names { LISTEN_FDS = "2", LISTEN_PID = "8" })
    for _, count in ipairs { "", "-1", "two", "1.5", " 1" } do
      lu.assertNil(names { LISTEN_FDS = count, LISTEN_PID = "7" }, count)
    end
  end,

  ["each has a name, and is unknown where it has none"] = function()
    lu.assertEquals(names { LISTEN_FDS = "0", LISTEN_PID = "7" }, {})
    lu.assertEquals(names { LISTEN_FDS = "2", LISTEN_PID = "7" }, { "unknown", "unknown" })
    lu.assertEquals(names { LISTEN_FDS = "3", LISTEN_PID = "7", LISTEN_FDNAMES = "a::c" }, { "a", "unknown", "c" })
    lu.assertEquals(names { LISTEN_FDS = "2", LISTEN_PID = "7", LISTEN_FDNAMES = "a" }, { "a", "unknown" })
    lu.assertEquals(names { LISTEN_FDS = "1", LISTEN_PID = "7", LISTEN_FDNAMES = "a:b:c" }, { "a" })
  end,

  ["an address means the socket that is there"] = function()
    local yes = {
      { "127.0.0.1:80", "127.0.0.1:80" }, { ":80", "[::]:80" }, { ":80", "0.0.0.0:80" }, { "unix:/a", "unix:/a" },
      { "localhost:80", "127.0.0.1:80" }, { "localhost:80", "[::1]:80" }, { "0.0.0.0:80", "0.0.0.0:80" },
    }
    local no = {
      { "127.0.0.1:80", "127.0.0.1:81" }, { ":80", "127.0.0.1:80" }, { "127.0.0.1:80", "0.0.0.0:80" },
      { "unix:/a", "unix:/b" }, { "unix:/a", "127.0.0.1:80" }, { "fd:a", "127.0.0.1:80" },
      { "localhost:80", "[::]:80" },
      { "fd:a", "unix:" },
    }
    for _, pair in ipairs(yes) do
      lu.assertTrue(passed.means(unpack(pair)), pair[1] .. " " .. pair[2])
    end
    for _, pair in ipairs(no) do
      lu.assertFalse(passed.means(unpack(pair)), pair[1] .. " " .. pair[2])
    end
  end,

  ["an app without listen has what no cluster names, each name once"] = function()
    local sockets = {
      { name = "a", address = "127.0.0.1:1" }, { name = "a", address = "127.0.0.1:2" },
      { name = "b", address = "127.0.0.1:3" }, { name = "c", address = "unix:/c" },
    }
    lu.assertEquals(passed.default_listen(sockets, nil), { "fd:a", "fd:b", "fd:c" })
    lu.assertEquals(passed.default_listen(sockets, { x = { listen = "fd:a" }, y = { listen = { "unix:/c" } } }),
      { "fd:b" })
    lu.assertEquals(passed.default_listen(sockets, { x = { listen = { address = "127.0.0.1:3" } }, y = {}, z = 1 }),
      { "fd:a", "fd:c" })
    lu.assertNil(passed.default_listen({ sockets[3] }, { x = { listen = { { address = "fd:b" } } } }))
    lu.assertNil(passed.default_listen({}, "nonsense"))
  end,
}
