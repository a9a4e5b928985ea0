--- URLs of requests, taken apart.
local lu = require "luaunit"
local url = require "brood.rules.url"

local function refused(text, pattern, code)
  local parts, why, found = url.parse(text)
  lu.assertNil(parts)
  lu.assertStrMatches(why, ".*" .. pattern .. ".*")
  lu.assertEquals(found, code or "EINVAL")
end

return {
  ["a URL has a host, perhaps a port, and a path with its query"] = function()
    for text, expected in pairs {
      ["http://a/b/c?d=e"] = { "a:80", "a", "/b/c?d=e" },
      ["http://a:8080"] = { "a:8080", "a:8080", "/" },
      ["http://a:80/"] = { "a:80", "a", "/" },
      ["http://a:/x"] = { "a:80", "a", "/x" },
      ["http://a?q"] = { "a:80", "a", "/?q" },
      ["http://a/b#part"] = { "a:80", "a", "/b" },
      ["http://a#part"] = { "a:80", "a", "/" },
      ["HTTP://A-b_c.d:1/"] = { "A-b_c.d:1", "A-b_c.d:1", "/" },
      ["http://[::1]:81/x"] = { "[::1]:81", "[::1]:81", "/x" },
      ["http://[::1]/x"] = { "[::1]:80", "[::1]", "/x" },
      ["http://[::ffff:127.0.0.1]/"] = { "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]", "/" },
      ["http://a//b?c=http://d/"] = { "a:80", "a", "//b?c=http://d/" },
      ["http://a/b@c"] = { "a:80", "a", "/b@c" },
    } do
      local parts = assert(url.parse(text))
      lu.assertEquals({ parts.address, parts.host, parts.path, parts.user }, expected, text)
    end
  end,

  ["the user before the host is decoded, and no message shows it"] = function()
    local parts = assert(url.parse "http://me%40home:p%3aw@host:81/x")
    lu.assertEquals({ parts.user, parts.address, parts.text }, { "me@home:p:w", "host:81", "http://host:81/x" })
    for _, text in ipairs { "http://me:secret@", "https://me:secret@host/", "http://me:secret@h/a b" } do
      lu.assertNotStrContains(select(2, url.parse(text)), "secret")
    end
  end,

  ["what is no URL is refused, and the reason is said"] = function()
    refused("nonsense", "'nonsense' is not a URL %(http://host%[:port%]/path%)")
    refused("", "is not a URL")
    refused("//a/b", "is not a URL")
    refused("http:/a", "is not a URL")
    refused("http://", "the host is missing")
    refused("http:///path", "the host is missing")
    refused("http://:80/", "':80' is not a host")
    refused("http://a:b/", "is not a host and a port")
    refused("http://a:0/", "'0' is not a port")
    refused("http://a:65536/", "'65536' is not a port")
    refused("http://::1/", "is not a host")
    refused("http://[a]/", "is not a host")
    refused("http://[::1]x/", "is not a host and a port")
    refused("http://a b/", "a space")
    refused("http://a/b c", "a space; write it as %%20")
    refused("http://a/\r\nX: y", "the byte 0x0d")
    refused("http://a/\0", "the byte 0x00")
    refused("http://a/\195\164", "the byte 0xc3; percent%-encode it")
    refused("http://a\\b/", "is not a host")
  end,

  ["other protocols are named"] = function()
    refused("https://a/", "only http:// is spoken here, not https://", "EPROTONOSUPPORT")
    refused("ftp://a/", "ftp://", "EPROTONOSUPPORT")
  end,

  ["base64 is that of RFC 4648"] = function()
    for text, expected in pairs {
      [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy",
      ["\255\254\253"] = "//79",
    } do
      lu.assertEquals(url.base64(text), expected)
    end
  end,
}
