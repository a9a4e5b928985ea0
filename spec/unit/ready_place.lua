--- rules/ready_place: where `ready` as a table looks, and why it may look nowhere.
local lu = require "luaunit"
local ready_place = require "brood.rules.ready_place"

local function refused(ready, text)
  local target, why = ready_place.target(ready)
  lu.assertNil(target)
  lu.assertStrContains(why, text)
end

return {
  ["a port is looked at on localhost, or on the address beside it"] = function()
    lu.assertEquals(ready_place.target { port = 9000 }, { port = 9000 })
    lu.assertEquals(ready_place.target { port = 9000, host = "localhost" }, { port = 9000 })
    for _, host in ipairs { "127.0.0.2", "::1", "fe80::1", "::ffff:127.0.0.1" } do
      lu.assertEquals(ready_place.target { port = 1, host = host }, { port = 1, host = host })
    end
  end,

  ["a socket is looked at by its path"] = function()
    lu.assertEquals(ready_place.target { socket = "/run/x" }, { socket = "/run/x" })
    lu.assertEquals(ready_place.target { socket = ("x"):rep(107) }, { socket = ("x"):rep(107) })
  end,

  ["http is a URL with its own port, 80 where it says none, and is asked for by the name that it has"] = function()
    for url, target in pairs {
      ["http://127.0.0.1:9000/ok?a=1"] = { host = "127.0.0.1", port = 9000, path = "/ok?a=1", name = "127.0.0.1:9000" },
      ["http://localhost"] = { port = 80, path = "/", name = "localhost" },
      ["http://[::1]:81/x"] = { host = "::1", port = 81, path = "/x", name = "[::1]:81" },
      ["http://[::1]/"] = { host = "::1", port = 80, path = "/", name = "[::1]" },
    } do
      lu.assertEquals(ready_place.target { http = url }, target, url)
    end
  end,

  ["http is a path where a port or a socket stands beside it"] = function()
    lu.assertEquals(ready_place.target { http = "/ok", port = 1 }, { port = 1, path = "/ok", name = "localhost" })
    lu.assertEquals(ready_place.target { http = "/ok", socket = "/s" },
      { socket = "/s", path = "/ok", name = "localhost" })
    refused({ http = "/ok" }, "`port` or `socket` is needed beside it")
  end,

  ["what is no place says which part of it is none"] = function()
    for _, port in ipairs { 0, 65536, 1.5, -1, "9000" } do
      refused({ port = port }, "`port` must be a number from 1 to 65535, got " .. tostring(port))
    end
    refused({}, "`port` must be")
    refused({ port = 1, host = "example.com" }, "`host` must be an IP address or localhost, got example.com")
    refused({ socket = "" }, "`socket` must be a path of at most 107 bytes")
    refused({ socket = ("x"):rep(108) }, "`socket` must be a path of at most 107 bytes")
    refused({ http = 80 }, "`http` must be a URL or a path")
    refused({ http = "http://127.0.0.1:0/" }, "`port` must be")
    refused({ http = "http://example.com/" }, "`host` must be an IP address or localhost")
    for _, url in ipairs {
      "https://localhost/", "localhost:80", "", "http://", "http://localhost:80x", "http://[x]/",
    } do
      refused({ http = url }, "is neither a path nor http://host:port/path")
    end
  end,
}
