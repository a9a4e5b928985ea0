--- The parser of answers, byte for byte: what it takes, and what it refuses.
local lu = require "luaunit"
local core = require "brood.core"

-- Feed it in pieces of n bytes, then end the connection.
local function parse(bytes, n, no_body, max_body)
  local a = core.http_answer.new()
  a:begin(no_body, max_body)
  local state, err = "head"
  for at = 1, #bytes, n do
    state, err = a:feed(bytes:sub(at, at + n - 1))
    if not state then
      return nil, err, a
    end
  end
  local ended = state == "done"
  local keeps = a:keeps_alive()
  state, err = a:finish()
  if not state then
    return nil, err, a
  end
  local status, reason, headers = a:head()
  return { status = status, reason = reason, headers = headers, body = a:take(), ended = ended, keeps = keeps }, nil, a
end

-- The same whole and in pieces of any size.
local function each_way(bytes, check, no_body, max_body)
  for _, n in ipairs { #bytes, 1, 2, 3, 7 } do
    check(parse(bytes, n, no_body, max_body))
  end
end

local function takes(bytes, expected, no_body)
  each_way(bytes, function(got, err)
    lu.assertNil(err)
    for key, value in pairs(expected) do
      lu.assertEquals(got[key], value, key .. " of " .. bytes)
    end
  end, no_body)
end

local function refuses(bytes, pattern, code)
  each_way(bytes, function(got, err)
    lu.assertNil(got, bytes)
    lu.assertEquals(err.code, code or "EPROTO", bytes)
    lu.assertStrMatches(err.message, ".*" .. pattern .. ".*")
  end)
end

local OK = "HTTP/1.1 200 OK\r\n"
local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n\r\n"
local TWO = "Content-Length: 2\r\n\r\nhi"

return {
  ["a length, chunks, and the end of the connection each end a body"] = function()
    takes(OK .. "Content-Length: 5\r\n\r\nhello",
      { status = 200, reason = "OK", body = "hello", ended = true, keeps = true })
    takes(OK .. "Content-Length: 0\r\n\r\n", { body = "", ended = true, keeps = true })
    takes(CHUNKED .. "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", { body = "abcde", keeps = true })
    takes(OK .. "Transfer-Encoding: CHUNKED\r\n\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
      { body = "", ended = true, keeps = true })
    takes(OK .. "\r\nuntil the end", { body = "until the end", ended = false, keeps = false })
    takes("HTTP/1.0 200 OK\r\n\r\nold", { body = "old", keeps = false })
  end,

  ["an answer to HEAD, 204 and 304 have no body, whatever their head says"] = function()
    takes(OK .. "Content-Length: 5\r\n\r\n", { body = "", ended = true, keeps = true }, true)
    takes(CHUNKED, { body = "", ended = true, keeps = true }, true)
    takes("HTTP/1.1 204 No Content\r\n\r\n", { status = 204, body = "", ended = true, keeps = true })
    takes("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
      { status = 304, body = "", ended = true, keeps = true })
  end,

  ["interim answers are skipped"] = function()
    takes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" .. OK .. TWO,
      { status = 200, body = "hi", headers = { ["content-length"] = "2" } })
    refuses("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", "101")
  end,

  ["names are lower case, repeated values are joined, cookies are a list"] = function()
    takes(OK .. "X-A: 1\r\nx-a:  2 \r\nX-E:\r\nSet-Cookie: a=b\r\n" .. TWO, {
      headers = { ["x-a"] = "1, 2", ["x-e"] = "", ["set-cookie"] = { "a=b" }, ["content-length"] = "2" },
    })
    takes(OK .. "Set-Cookie: a\r\nSet-Cookie: b, c\r\n" .. TWO,
      { headers = { ["set-cookie"] = { "a", "b, c" }, ["content-length"] = "2" } })
    takes("HTTP/1.1 200\r\n" .. TWO, { status = 200, reason = "" })
    takes("HTTP/1.1 404 Not \195\164 here\r\n" .. TWO, { status = 404, reason = "Not \195\164 here" })
  end,

  ["Connection and the version say whether another request may follow"] = function()
    takes(OK .. "Connection: close\r\n" .. TWO, { body = "hi", keeps = false })
    takes("HTTP/1.0 200 OK\r\n" .. TWO, { keeps = false })
    takes("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" .. TWO, { keeps = true })
    takes(OK .. "Upgrade: h2c\r\nConnection: Upgrade\r\n" .. TWO, { body = "hi", keeps = true })
    takes(OK .. TWO .. "more", { body = "hi", keeps = false })
  end,

  ["two readers could disagree about these: refused"] = function()
    refuses(OK .. "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ".")
    refuses(OK .. "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", ".")
    refuses(OK .. "Content-Length: 2\r\n" .. TWO, ".")
    refuses(OK .. "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", ".")
    for _, length in ipairs { "2, 2", "+2", "-2", "0x2", "2 2", "", "1e1", "99999999999999999999" } do
      refuses(OK .. "Content-Length: " .. length .. "\r\n\r\nhi", ".")
    end
    for _, coding in ipairs { "gzip, chunked", "chunked, gzip", "identity", "chunked, chunked", "xchunked", "" } do
      refuses(OK .. "Transfer-Encoding: " .. coding .. "\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "Transfer.Encoding")
    end
    refuses("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
      "Transfer.Encoding in HTTP/1.0")
    refuses(OK .. "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer.Encoding")
    refuses(OK .. "X-A: b\r\n folded\r\n" .. TWO, "folded")
    refuses(OK .. "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", ".")
    refuses(OK .. "X-A : b\r\n" .. TWO, ".")
    refuses(OK .. "X-A\r\n" .. TWO, ".")
    refuses(OK .. ": b\r\n" .. TWO, ".")
    refuses(OK .. "X-A: b\0c\r\n" .. TWO, ".")
    refuses(OK .. "X-A: b\rc\r\n" .. TWO, ".")
    refuses("HTTP/1.1 200 O\0K\r\n" .. TWO, ".")
    refuses("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", ".")
    refuses(OK .. "X-A: b\nY: c\r\n" .. TWO, ".")
  end,

  ["bad chunks are refused"] = function()
    for _, chunks in ipairs {
      "x\r\n", "\r\n", "-1\r\n", "+2\r\nhi\r\n0\r\n\r\n", "0x2\r\nhi\r\n", " 2\r\nhi\r\n", "2 \r\nhi\r\n0\r\n\r\n",
      "2\nhi\r\n0\r\n\r\n", "2\r\nhix\r\n", "2\r\nhi\n0\r\n\r\n", "2\r\nhi0\r\n\r\n", "fffffffffffffffff\r\n",
    } do
      refuses(CHUNKED .. chunks, ".")
    end
  end,

  ["what is no HTTP/1 is refused"] = function()
    for _, bytes in ipairs {
      "hello\r\n\r\n", "\0", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n",
      "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
      "HTTP/1.1 099 X\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "SSH-2.0-OpenSSH\r\n",
    } do
      refuses(bytes, "not sound HTTP")
    end
  end,

  ["a head is at most 64k, in one answer or in endless interim ones"] = function()
    local function fed(piece, times)
      local a = core.http_answer.new()
      a:begin(false)
      for _ = 1, times do
        local state, err = a:feed(piece)
        if not state then
          return err
        end
      end
    end
    local a = core.http_answer.new()
    a:begin(false)
    lu.assertEquals(a:feed(OK), "head")
    lu.assertEquals(a:feed("X: " .. ("y"):rep(65000) .. "\r\n"), "head")
    lu.assertEquals(a:feed(TWO), "done")
    for _, bytes in ipairs { "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\nA: b\r\n\r\n" } do
      local err = fed(bytes, 10000)
      lu.assertEquals({ err.code, err.message }, { "EPROTO", "the answer's head is larger than 64k" })
    end
    a:begin(false)
    a:feed(OK)
    local _, err = a:feed("X: " .. ("y"):rep(70000))
    lu.assertEquals(err.message, "the answer's head is larger than 64k")
    refuses(OK .. ("a:b\r\n"):rep(1001) .. "\r\n", "more than 1000 header lines")
  end,

  ["trailers and chunk extensions without end are refused"] = function()
    for _, start in ipairs { "0\r\n", "2;" } do
      local a = core.http_answer.new()
      a:begin(false)
      a:feed(CHUNKED .. start)
      local state, err = "body", nil
      for _ = 1, 100 do
        state, err = a:feed(start == "0\r\n" and "x: " .. ("y"):rep(1000) .. "\r\n" or ("z"):rep(1000))
        if not state then
          break
        end
      end
      lu.assertNil(state)
      lu.assertEquals(err.code, "EPROTO")
    end
  end,

  ["a body beyond max_body is refused, before it comes where its length is known"] = function()
    local a = core.http_answer.new()
    a:begin(false, 4)
    local state, err = a:feed(OK .. "Content-Length: 5\r\n\r\n")
    lu.assertEquals({ state, err.code }, { nil, "too_large" })
    each_way(CHUNKED .. "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", function(got, why)
      lu.assertEquals({ got, why.code }, { nil, "too_large" })
      lu.assertStrMatches(why.message, ".*larger than max_body %(4 bytes%)")
    end, false, 4)
    each_way(OK .. "\r\nabcde", function(_, why)
      lu.assertEquals(why.code, "too_large")
    end, false, 4)
    each_way(OK .. "Content-Length: 4\r\n\r\nabcd", function(got)
      lu.assertEquals(got.body, "abcd")
    end, false, 4)
    a:begin(true, 4)
    lu.assertEquals(a:feed(OK .. "Content-Length: 5\r\n\r\n"), "done")
  end,

  ["an answer that breaks off says how much of it came"] = function()
    refuses("", "without an answer", "closed")
    refuses("HTTP/1.1 20", "in the answer's head, after 11 bytes", "closed")
    refuses("HTTP/1.1 100 Continue\r\n\r\n", "in the answer's head, after 25 bytes", "closed")
    refuses(OK .. "Content-Length: 10\r\n\r\nabc", "after 3 of 10 bytes", "closed")
    refuses(CHUNKED .. "3\r\nabc\r\n", "before the last chunk .*after 3 bytes", "closed")
    refuses(CHUNKED .. "3\r\nabc\r\n0\r\n", "before the last chunk", "closed")
  end,

  ["spoilt answers are refused or taken alike, however they are cut into pieces"] = function()
    local samples = {
      OK .. "Content-Length: 5\r\nX-A: b\r\n\r\nhello",
      CHUNKED .. "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\n" .. OK .. TWO, "HTTP/1.0 404 Not Found\r\nSet-Cookie: a\r\n\r\nuntil the end",
    }
    local bytes = { "\r", "\n", "\0", " ", ":", "\r\n", "0", "9", ",", "x", "\255",
      "\r\n\r\n", "chunked", "\t", ";", "-" }
    local seed = 42
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    for _ = 1, tonumber(os.getenv("BROOD_FUZZ_ROUNDS")) or 3000 do
      local text = samples[random(#samples)]
      for _ = 1, random(3) do
        local at, piece, how = random(#text), bytes[random(#bytes)], random(3)
        text = text:sub(1, at - 1) .. (how == 1 and "" or piece) .. text:sub(how == 2 and at or at + 1)
      end
      local whole, why = parse(text, #text)
      for _, n in ipairs { 1, 1 + random(9) } do
        local cut, reason = parse(text, n)
        lu.assertEquals(cut and cut.body or reason.code, whole and whole.body or why.code, ("%q"):format(text))
        lu.assertEquals(cut and cut.headers, whole and whole.headers, ("%q"):format(text))
        lu.assertEquals(cut and cut.keeps, whole and whole.keeps, ("%q"):format(text))
      end
    end
  end,

  ["one parser takes answer after answer"] = function()
    local a = core.http_answer.new()
    for i = 1, 50 do
      local body = ("x"):rep(i * 1000)
      a:begin(false)
      lu.assertEquals(a:feed(OK .. "N: " .. i .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body), "done")
      lu.assertEquals({ a:keeps_alive(), (select(3, a:head())).n, a:take() == body }, { true, tostring(i), true })
    end
    lu.assertEquals(a:take(), "")
  end,
}
