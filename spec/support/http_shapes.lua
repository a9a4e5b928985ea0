--- Requests that servers and proxies have been made to disagree about, and odd ones that are honest; each with the
--- answers that RFC 9110 and 9112 ask for. http_hostile.lua sends them, spec/fuzz starts from them.
---
--- A shape is { name, bytes, answers... }. An answer is a status, with which the connection ends (a refusal), or the
--- text that the handler below gives for a request that is served: "METHOD path?query length-of-body". A last answer
--- "close" says that the connection ends behind the answers, as the request asked.

local M = {}

---What the shapes' server does, as the body of function(req, res).
M.HANDLER = [[
  local body, err = req:body()
  if err then return err.code == "too_large" and res:status(413):finish(err.code) end
  res:finish(("%s %s%s %d"):format(req.method, req.path, req.query ~= "" and "?" .. req.query or "", #body))
]]

---Limits that keep the shapes short.
M.OPTIONS = '{ max_header = "2k", max_body = "1k" }'

local list = {}

local function shape(name, bytes, ...)
  table.insert(list, { name, bytes, ... })
end

-- A GET with these header lines, each ended by CRLF, and what comes behind the head.
local function get(lines, behind)
  return "GET /a HTTP/1.1\r\nHost: a\r\n" .. (lines or "") .. "\r\n" .. (behind or "")
end

local function post(lines, behind)
  return "POST /a HTTP/1.1\r\nHost: a\r\n" .. lines .. "\r\n" .. (behind or "")
end

local function chunked(framing)
  return post("Transfer-Encoding: chunked\r\n", framing)
end

local function line(text)
  return text .. "\r\nHost: a\r\n\r\n"
end

-- What an attacker would like to see served.
local SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

---- the length of a body ---------------------------------------------------------------------------------------------

shape("CL, then TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" .. SMUGGLED), 400)
shape("TE, then CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n" .. SMUGGLED), 400)
shape("TE, then CL 0", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n" .. SMUGGLED), 400)
shape("CL with an unknown TE", post("Content-Length: 5\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n"), 400)
shape("two CLs that agree", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400)
shape("two CLs that do not", post("Content-Length: 3\r\nContent-Length: 40\r\n", "abc" .. SMUGGLED), 400)
shape("two CLs in other cases", post("Content-Length: 3\r\ncontent-length: 0\r\n", "abc"), 400)
for name, value in pairs {
  ["a list"] = " 3, 3", ["a list without blanks"] = " 3,3", ["a list that disagrees"] = " 3, 0", ["a comma"] = " 3,",
  ["a plus"] = " +3", ["a minus"] = " -3", ["minus zero"] = " -0", ["hex"] = " 0x3", ["hex digits"] = " a",
  ["nothing"] = "", ["blanks"] = " \t ", ["two numbers"] = " 3 3", ["a fraction"] = " 3.0", ["an exponent"] = " 3e0",
  ["an underscore"] = " 1_0", ["quotes"] = ' "3"', ["a semicolon"] = " 3;a", ["a vertical tab"] = " \v3",
  ["a form feed"] = " 3\f", ["a NUL"] = " 3\0", ["a bare CR"] = " \r3", ["digits of another script"] = " \217\163",
  ["65 bits"] = " 18446744073709551619", ["a word"] = " three", ["folding"] = "\r\n 3",
} do
  shape("CL with " .. name, post("Content-Length:" .. value .. "\r\n", "abc" .. SMUGGLED), 400)
end
shape("CL of 2^63", post("Content-Length: 9223372036854775808\r\n", "abc"), 413)
shape("CL beyond max_body", post("Content-Length: 1025\r\n", "abc"), 413)
shape("CL beyond max_body, all of it sent", post("Content-Length: 1025\r\n", ("x"):rep(1025) .. SMUGGLED), 413)
shape("CL beyond max_body that waits for 100", post("Content-Length: 1025\r\nExpect: 100-continue\r\n"), 413)
shape("CL at max_body", post("Content-Length: 1024\r\n", ("x"):rep(1024)), "POST /a 1024")
shape("CL with zeros before", post("Content-Length: 0003\r\n", "abc"), "POST /a 3")
shape("CL with blanks around", post("Content-Length:   3  \r\n", "abc"), "POST /a 3")
shape("CL 0", post("Content-Length: 0\r\n"), "POST /a 0")
shape("neither CL nor TE: no body", post("", SMUGGLED), "POST /a 0", "GET /smuggled 0")
shape("a GET with a body", get("Content-Length: 3\r\n", "abc"), "GET /a 3")
shape("a GET whose body looks like a request", get("Content-Length: " .. #SMUGGLED .. "\r\n", SMUGGLED),
  "GET /a " .. #SMUGGLED)
shape("a body with NULs", post("Content-Length: 3\r\n", "\0\0\0"), "POST /a 3")

---- Transfer-Encoding ------------------------------------------------------------------------------------------------

local LAST = "0\r\n\r\n"
for name, value in pairs {
  ["gzip, chunked"] = { " gzip, chunked", 501 }, ["identity"] = { " identity", 501 }, ["gzip"] = { " gzip", 501 },
  ["identity, chunked"] = { " identity, chunked", 501 }, ["xchunked"] = { " xchunked", 501 },
  ["chunked twice"] = { " chunked, chunked", 400 }, ["chunked thrice"] = { " chunked,chunked ,chunked", 400 },
  ["chunked, gzip"] = { " chunked, gzip", 400 }, ["chunked, identity"] = { " chunked, identity", 400 },
  ["a comma behind"] = { " chunked,", 400 }, ["a comma before"] = { " ,chunked", 400 }, ["nothing"] = { "", 400 },
  ["quotes"] = { ' "chunked"', 400 }, ["single quotes"] = { " 'chunked'", 501 },
  ["a parameter"] = { " chunked;a=b", 400 },
  ["a vertical tab before"] = { " \vchunked", 400 }, ["a vertical tab behind"] = { " chunked\v", 400 },
  ["a form feed"] = { "\fchunked", 400 }, ["a NUL"] = { " chunked\0", 400 }, ["a bare CR"] = { " \rchunked", 400 },
  ["two words"] = { " chunked chunked", 400 }, ["a dotless I"] = { " ch\196\177nked", 400 },
  ["a no-break space"] = { " \194\160chunked", 400 }, ["folding before"] = { "\r\n chunked", 400 },
  ["folding behind"] = { " chunked\r\n x", 400 }, ["a folded blank line"] = { " chunked\r\n ", 400 },
} do
  shape("TE: " .. name, post("Transfer-Encoding:" .. value[1] .. "\r\n", LAST .. SMUGGLED), value[2])
end
shape("TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", LAST), 400)
shape("TE twice, the last one unknown", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", LAST), 400)
shape("TE twice, the first one unknown", post("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", LAST), 400)
shape("TE in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. LAST, 400)
shape("TE with a blank before its colon", post("Transfer-Encoding : chunked\r\n", LAST), 400)
shape("TE with a tab before its colon", post("Transfer-Encoding\t: chunked\r\n", LAST), 400)
shape("TE behind a blank", post("X: a\r\n Transfer-Encoding: chunked\r\n", LAST), 400)
shape("TE behind a bare LF", post("X: a\nTransfer-Encoding: chunked\r\n", LAST), 400)
shape("TE behind a bare CR", post("X: a\rTransfer-Encoding: chunked\r\n", LAST), 400)
shape("TE with an underscore is another header", post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", LAST),
  "POST /a 5")
shape("TE in capitals", post("TRANSFER-ENCODING: CHUNKED\r\n", LAST), "POST /a 0")
shape("TE in odd case", post("transfer-Encoding: cHuNkEd\r\n", LAST), "POST /a 0")
shape("TE with tabs around", post("Transfer-Encoding:\tchunked\t\r\n", LAST), "POST /a 0")
shape("TE without a blank", post("Transfer-Encoding:chunked\r\n", LAST), "POST /a 0")
shape("TE: trailers is no coding", get("TE: trailers\r\n"), "GET /a 0")

---- chunks -----------------------------------------------------------------------------------------------------------

for name, framing in pairs {
  ["a size that is no number"] = "zz\r\nabc\r\n", ["no size"] = "\r\nabc\r\n", ["a plus"] = "+3\r\nabc\r\n",
  ["a minus"] = "-3\r\nabc\r\n", ["0x"] = "0x3\r\nabc\r\n", ["a blank before"] = " 3\r\nabc\r\n",
  ["a blank behind"] = "3 \r\nabc\r\n", ["a tab behind"] = "3\t\r\nabc\r\n", ["a blank within"] = "0 3\r\nabc\r\n",
  ["65 bits"] = "10000000000000003\r\nabc\r\n", ["an underscore"] = "0_3\r\nabc\r\n", ["a comma"] = "3,\r\nabc\r\n",
  ["a NUL"] = "3\0\r\nabc\r\n", ["quotes"] = '"3"\r\nabc\r\n', ["a vertical tab"] = "3\v\r\nabc\r\n",
  ["a size ended by LF"] = "3\nabc\r\n", ["a size ended by CR"] = "3\rabc\r\n", ["CR CR LF"] = "3\r\r\nabc\r\n",
  ["too little data"] = "4\r\nabc\r\n", ["too much data"] = "3\r\nabcd\r\n", ["no end"] = "3\r\nabc0\r\n\r\n",
  ["an end of LF"] = "3\r\nabc\n", ["an end of CR"] = "3\r\nabc\r0\r\n\r\n",
  ["an end of two other bytes"] = "3\r\nabcXX",
  ["LF CR"] = "3\n\rabc\r\n", ["an empty extension"] = "3;\r\nabc\r\n", ["two semicolons"] = "3;;a\r\nabc\r\n",
  ["an extension without a name"] = "3;=b\r\nabc\r\n", ["an extension without its value"] = "3;a=\r\nabc\r\n",
  ["two values"] = "3;a=b=c\r\nabc\r\n", ["a value of two words"] = "3;a=b c\r\nabc\r\n",
  ["an open quote"] = '3;a="b\r\nabc\r\n', ["something behind a quote"] = '3;a="b"c\r\nabc\r\n',
  ["an extension ended by LF"] = "3;a=b\nabc\r\n", ["LF in an extension"] = "3;a\nb\r\nabc\r\n",
  ["LF in a quote"] = '3;a="\n"\r\nabc\r\n', ["CR in an extension"] = "3;a\rb\r\nabc\r\n",
  ["CR in a quote"] = '3;a="\r"\r\nabc\r\n', ["NUL in an extension"] = "3;a\0\r\nabc\r\n",
  ["a control character in a quote"] = '3;a="\1"\r\nabc\r\n', ["a blank behind an extension"] = "3;a \r\nabc\r\n",
  ["a last chunk ended by LF"] = "0\n\r\n", ["a last line ended by LF"] = "0\r\n\n", ["a last line of CR"] = "0\r\n\rX",
  ["a signed zero"] = "-0\r\n\r\n", ["a trailer without colon"] = "0\r\nabc\r\n\r\n",
  ["a trailer without name"] = "0\r\n: a\r\n\r\n", ["a blank before a trailer's colon"] = "0\r\nA : b\r\n\r\n",
  ["a folded trailer"] = "0\r\nA: b\r\n c\r\n\r\n", ["a blank before a trailer"] = "0\r\n A: b\r\n\r\n",
  ["NUL in a trailer"] = "0\r\nA: \0\r\n\r\n", ["a trailer ended by LF"] = "0\r\nA: b\n\r\n",
  ["a trailer ended by CR"] = "0\r\nA: b\rC: d\r\n\r\n",
} do
  shape("chunks with " .. name, chunked(framing .. LAST .. SMUGGLED), 400)
end
shape("chunks with a huge extension", chunked("3;a=" .. ("b"):rep(20000) .. "\r\nabc\r\n" .. LAST), 400)
shape("chunks with many small extensions", chunked(("1;a=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nx\r\n"):rep(1000) .. LAST),
  400)
shape("chunks with huge trailers", chunked("0\r\n" .. ("A: b\r\n"):rep(4000) .. "\r\n"), 431)
shape("chunks beyond max_body", chunked(("100\r\n" .. ("x"):rep(256) .. "\r\n"):rep(5) .. LAST .. SMUGGLED), 413)
shape("a chunk beyond max_body", chunked("401\r\nabc"), 413)
shape("a chunk of 64 bits", chunked("ffffffffffffffff\r\nabc"), 413)
shape("chunks up to max_body", chunked(("100\r\n" .. ("x"):rep(256) .. "\r\n"):rep(4) .. LAST), "POST /a 1024")
shape("chunks of one byte", chunked(("1\r\nx\r\n"):rep(100) .. LAST), "POST /a 100")
shape("a size in either case with zeros before", chunked("000a\r\n0123456789\r\n0A\r\n0123456789\r\n000\r\n\r\n"),
  "POST /a 20")
shape("an extension", chunked("3;a\r\nabc\r\n" .. LAST), "POST /a 3")
shape("an extension with a value", chunked("3;a=b\r\nabc\r\n0;c=d\r\n\r\n"), "POST /a 3")
shape("two extensions", chunked("3;a=b;c\r\nabc\r\n" .. LAST), "POST /a 3")
shape("quoted values", chunked('3;a="b;\\"c\t"; d = "" ;e\r\nabc\r\n' .. LAST), "POST /a 3")
shape("blanks around an extension", chunked("3 ; a = b\r\nabc\r\n" .. LAST), "POST /a 3")
shape("trailers", chunked("3\r\nabc\r\n0\r\nA: b\r\nC:\r\n\r\n"), "POST /a 3")
shape("trailers that must not count",
  chunked("0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\n" .. SMUGGLED),
  "POST /a 0", "GET /smuggled 0")
shape("data that looks like a chunk", chunked("5\r\n0\r\n\r\n\r\n" .. LAST), "POST /a 5")
shape("data that looks like a request", chunked(("%x\r\n"):format(#SMUGGLED) .. SMUGGLED .. "\r\n" .. LAST),
  "POST /a " .. #SMUGGLED)

---- header lines -----------------------------------------------------------------------------------------------------

for name, lines in pairs {
  ["a folded value"] = "X: a\r\n b\r\n", ["a value folded by a tab"] = "X: a\r\n\tb\r\n",
  ["folding to nothing"] = "X: a\r\n \r\n",
  ["a blank before the colon"] = "X : a\r\n", ["a tab before the colon"] = "X\t: a\r\n",
  ["a blank within a name"] = "X Y: a\r\n",
  ["no colon"] = "Xa\r\n", ["no name"] = ": a\r\n", ["a colon alone"] = ":\r\n", ["a bare CR"] = "X: a\rb\r\n",
  ["a bare LF"] = "X: a\nY: b\r\n", ["CR CR LF"] = "X: a\r\r\n", ["a NUL in a value"] = "X: a\0b\r\n",
  ["a NUL in a name"] = "X\0: a\r\n",
  ["a control character"] = "X: a\1b\r\n", ["DEL"] = "X: a\127b\r\n", ["a vertical tab before a name"] = "\vX: a\r\n",
  ["a name in quotes"] = '"X": a\r\n', ["a name in parentheses"] = "(X): a\r\n",
  ["a name beyond ASCII"] = "X\195\164: a\r\n",
  ["a slash in a name"] = "X/Y: a\r\n", ["an at sign in a name"] = "X@Y: a\r\n",
  ["a request for a header"] = "GET / HTTP/1.1\r\n",
} do
  shape("a header with " .. name, get(lines, SMUGGLED), 400)
end
shape("a blank before the first header", "GET /a HTTP/1.1\r\n Host: a\r\n\r\n", 400)
shape("a folded request line", "GET /a HTTP/1.1\r\n \r\nHost: a\r\n\r\n", 400)
shape("bare LFs", "GET /a HTTP/1.1\nHost: a\n\n", 400)
shape("a bare LF behind the request line", "GET /a HTTP/1.1\nHost: a\r\n\r\n", 400)
shape("a bare LF at the end of the head", "GET /a HTTP/1.1\r\nHost: a\r\n\n", 400)
shape("a bare CR at the end of the head", "GET /a HTTP/1.1\r\nHost: a\r\n\rX", 400)
shape("huge headers", get("X: " .. ("a"):rep(4000) .. "\r\n"), 431)
shape("a huge name", get(("X"):rep(4000) .. ": a\r\n"), 431)
shape("headers that sum up", get(("X: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n"):rep(100)), 431)
shape("too many headers", get(("a:\r\n"):rep(300)), 431)
shape("many headers", get(("a:\r\n"):rep(100)), "GET /a 0")
shape("no value", get("X:\r\n"), "GET /a 0")
shape("no blank behind the colon", get("X:a\r\n"), "GET /a 0")
shape("blanks around a value", get("X: \t a b \t \r\n"), "GET /a 0")
shape("colons in a value", get("X: a:b: c\r\n"), "GET /a 0")
shape("a value beyond ASCII", get("X: \195\164\255\r\n"), "GET /a 0")
shape("every character of a name", get("!#$%&'*+-.^_`|~09azAZ: a\r\n"), "GET /a 0")

---- Host -------------------------------------------------------------------------------------------------------------

local function host(value)
  return "GET /a HTTP/1.1\r\nHost:" .. value .. "\r\n\r\n"
end

shape("no Host", "GET /a HTTP/1.1\r\n\r\n", 400)
shape("no Host, but other headers", "GET /a HTTP/1.1\r\nX: a\r\n\r\n", 400)
shape("two Hosts", host " a\r\nHost: b", 400)
shape("two Hosts that agree", host " a\r\nhost: a", 400)
shape("two Hosts in HTTP/1.0", "GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400)
for name, value in pairs {
  ["a blank"] = " a b", ["a slash"] = " a/b", ["a scheme"] = " http://a", ["a user"] = " u@a", ["a comma"] = " a,b",
  ["a list"] = " a, b", ["a query"] = " a?b", ["a fragment"] = " a#b", ["two ports"] = " a:80:80",
  ["a port of letters"] = " a:b",
  ["a signed port"] = " a:-1", ["an open bracket"] = " [::1", ["no address in brackets"] = " []",
  ["letters in brackets"] = " [xyz]",
  ["something behind brackets"] = " [::1]a", ["a bracket within"] = " a[b]", ["an address without brackets"] = " ::1",
  ["a backslash"] = " a\\b", ["quotes"] = ' "a"', ["half an escape"] = " a%2", ["a wrong escape"] = " %zz",
  ["a NUL"] = " a\0",
  ["letters beyond ASCII"] = " \195\164", ["angle brackets"] = " <a>", ["a pipe"] = " a|b",
} do
  shape("Host with " .. name, host(value), 400)
end
for name, value in pairs {
  ["a port"] = " a:80", ["an empty port"] = " a:", ["an address"] = " 127.0.0.1:80",
  ["an address in brackets"] = " [::1]:80",
  ["a name"] = " a-b.c_d.example", ["a dot behind"] = " a.", ["nothing"] = "", ["an escape"] = " a%2db",
  ["capitals"] = " EXAMPLE.com",
} do
  shape("Host with " .. name .. " is right", host(value), "GET /a 0")
end

---- the request line -------------------------------------------------------------------------------------------------

for name, bytes in pairs {
  ["no version"] = "GET /a", ["no target"] = "GET HTTP/1.1", ["an empty target"] = "GET  HTTP/1.1",
  ["a method alone"] = "GET",
  ["two blanks before the target"] = "GET  /a HTTP/1.1", ["two blanks behind the target"] = "GET /a  HTTP/1.1",
  ["tabs"] = "GET\t/a\tHTTP/1.1", ["a tab behind the target"] = "GET /a\tHTTP/1.1",
  ["a blank before"] = " GET /a HTTP/1.1",
  ["a blank behind"] = "GET /a HTTP/1.1 ", ["a word behind"] = "GET /a HTTP/1.1 x",
  ["a blank in the target"] = "GET /a b HTTP/1.1",
  ["a lower-case protocol"] = "GET /a http/1.1", ["another protocol"] = "GET /a RTSP/1.0",
  ["ICE"] = "SOURCE /a ICE/1.0",
  ["half a protocol"] = "GET /a HTP/1.1", ["no number"] = "GET /a HTTP/", ["a bare CR"] = "GET /a\rHTTP/1.1",
  ["a NUL"] = "GET /\0 HTTP/1.1",
  ["a control character"] = "GET /\1 HTTP/1.1", ["DEL"] = "GET /\127 HTTP/1.1",
  ["a target beyond ASCII"] = "GET /\195\164 HTTP/1.1",
  ["a query beyond ASCII"] = "GET /a?\195\164 HTTP/1.1", ["a fragment"] = "GET /a#b HTTP/1.1",
  ["a fragment in the query"] = "GET /a?b#c HTTP/1.1",
  ["a relative target"] = "GET a HTTP/1.1", ["a target of dots"] = "GET .. HTTP/1.1",
  ["a query alone"] = "GET ?a HTTP/1.1",
  ["an asterisk for GET"] = "GET * HTTP/1.1", ["more than an asterisk"] = "OPTIONS *a HTTP/1.1",
  ["an authority for GET"] = "GET a:80 HTTP/1.1",
  ["an absolute target without a host"] = "GET http:///a HTTP/1.1",
  ["a port without a host"] = "GET http://:80/a HTTP/1.1",
  ["an absolute target of another kind"] = "GET ftp://a/a HTTP/1.1",
  ["an absolute target with one slash"] = "GET http:/a HTTP/1.1",
  ["a user in the target"] = "GET http://u@a/ HTTP/1.1", ["a wrong host in the target"] = "GET http://a,b/ HTTP/1.1",
  ["a scheme alone"] = "GET http:// HTTP/1.1", ["a script"] = "GET javascript:a HTTP/1.1",
} do
  shape("a request line with " .. name, line(bytes), 400)
end
for name, version in pairs {
  ["2.0"] = "HTTP/2.0", ["1.2"] = "HTTP/1.2", ["1.9"] = "HTTP/1.9", ["3.0"] = "HTTP/3.0", ["0.9"] = "HTTP/0.9",
  ["9.9"] = "HTTP/9.9", ["0.0"] = "HTTP/0.0",
} do
  shape("HTTP/" .. name, line("GET /a " .. version), 505)
end
for name, version in pairs {
  ["two digits"] = "HTTP/1.10", ["zeros before"] = "HTTP/01.1", ["a comma"] = "HTTP/1,1", ["no dot"] = "HTTP/11",
  ["no minor"] = "HTTP/1.",
  ["no minor, nor a dot"] = "HTTP/1", ["no major"] = "HTTP/.1", ["letters"] = "HTTP/x.y", ["a blank"] = "HTTP/ 1.1",
  ["a letter behind"] = "HTTP/1.1x",
} do
  shape("a version with " .. name, line("GET /a " .. version), 400)
end
shape("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 505)
shape("half the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 505)
shape("PRI in HTTP/1.1", line "PRI / HTTP/1.1", 505)
shape("HTTP/0.9", "GET /a\r\n", 400)
shape("an unknown method", line "FOO /a HTTP/1.1", 501)
shape("an unknown method that begins like one", line "GETS /a HTTP/1.1", 501)
shape("half a method", line "PO /a HTTP/1.1", 501)
shape("a lower-case method", line "get /a HTTP/1.1", 501)
shape("a method in mixed case", line "Get /a HTTP/1.1", 501)
shape("a very long method", line(("A"):rep(100) .. " /a HTTP/1.1"), 501)
shape("an endless method", ("A"):rep(10000), 501)
shape("a method of RTSP", line "PLAY /a HTTP/1.1", 501)
shape("a method with a colon", line "GET: /a HTTP/1.1", 400)
shape("a method beyond ASCII", line "G\195\137T /a HTTP/1.1", 400)
shape("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" .. SMUGGLED, 501)
shape("the start of TLS", "\22\3\1\2\0\1\0\1\252\3\3" .. ("\200\0"):rep(40), 400)
shape("the start of SSH", "SSH-2.0-OpenSSH_9.2\r\n", 400)
shape("the start of SMTP", "EHLO a\r\n\r\n", 501)
shape("a PROXY line", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" .. get(), 501)
shape("binary noise", ("\255\254\0\1"):rep(50), 400)
shape("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400)
shape("a huge target", line("GET /" .. ("a"):rep(4000) .. " HTTP/1.1"), 414)
shape("a huge query", line("GET /?" .. ("a"):rep(4000) .. " HTTP/1.1"), 414)
shape("endless empty lines", ("\r\n"):rep(3000) .. get(), 400)
shape("a long target", line("GET /" .. ("a"):rep(1500) .. " HTTP/1.1"), "GET /" .. ("a"):rep(1500) .. " 0")
shape("a bare CR before", "\r" .. get(), 400)
shape("a bare LF before", "\n" .. get(), 400)
shape("an empty line and a bare LF before", "\r\n\n" .. get(), 400)
shape("an empty line before", "\r\n" .. get(), "GET /a 0")
shape("two empty lines before", "\r\n\r\n" .. get(), "GET /a 0")
shape("OPTIONS *", line "OPTIONS * HTTP/1.1", "OPTIONS * 0")
shape("OPTIONS of a path", line "OPTIONS /a HTTP/1.1", "OPTIONS /a 0")
shape("an absolute target", line "GET http://b/a?q HTTP/1.1", "GET /a?q 0")
shape("an absolute target without a path", line "GET http://b HTTP/1.1", "GET / 0")
shape("an absolute target without a path, but a query", line "GET HTTP://b:80?q HTTP/1.1", "GET /?q 0")
shape("an absolute target and no Host", "GET http://b/a HTTP/1.1\r\n\r\n", 400)
shape("an absolute target in HTTP/1.0", "GET http://b/a HTTP/1.0\r\n\r\n", "GET /a 0", "close")
shape("an address in the target", line "GET https://[::1]:443/a HTTP/1.1", "GET /a 0")
shape("a target with two slashes", line "GET //a/b HTTP/1.1", "GET //a/b 0")
shape("an URL behind a slash", line "GET /http://b/a HTTP/1.1", "GET /http://b/a 0")
shape("dots are the application's", line "GET /../a/./b HTTP/1.1", "GET /../a/./b 0")
shape("escapes stay as they are", line "GET /%00%2f%C3%A4%zz?%0d%0a HTTP/1.1", "GET /%00%2f%C3%A4%zz?%0d%0a 0")
shape("characters that browsers send raw", line 'GET /a|b^c`{d}"\\[e]?f|"{}\\ HTTP/1.1',
  'GET /a|b^c`{d}"\\[e]?f|"{}\\ 0')
shape("two question marks", line "GET /a?b?c HTTP/1.1", "GET /a?b?c 0")
for _, method in ipairs { "DELETE", "PUT", "PATCH", "TRACE", "PROPFIND", "M-SEARCH", "QUERY" } do
  local known = method ~= "QUERY"
  shape(method, line(method .. " /a HTTP/1.1"), known and method .. " /a 0" or 501)
end

---- expectations, upgrades, connections -------------------------------------------------------------------------------

shape("an unknown expectation", post("Expect: wonders\r\nContent-Length: 3\r\n", "abc"), 417)
shape("two expectations", post("Expect: 100-continue, wonders\r\nContent-Length: 3\r\n", "abc"), 417)
shape("a wrong request with an unknown expectation", post("Expect: wonders\r\nContent-Length: x\r\n", "abc"), 400)
shape("an expectation of HTTP/1.0 means nothing", "POST /a HTTP/1.0\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc",
  "POST /a 3", "close")
shape("an expectation without a body", get("Expect: 100-continue\r\n"), "GET /a 0")
shape("an expectation whose body is here", post("Expect: 100-Continue\r\nContent-Length: 3\r\n", "abc"), "POST /a 3")
local H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
shape("an Upgrade to h2c", get(H2C), "GET /a 0")
shape("an Upgrade with a body", post(H2C .. "Content-Length: 3\r\n", "abc"), "POST /a 3")
shape("an Upgrade with a chunked body", post(H2C .. "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n" .. LAST),
  "POST /a 3")
shape("requests behind an Upgrade", get(H2C, get(H2C)) .. get(), "GET /a 0", "GET /a 0", "GET /a 0")
shape("an Upgrade to WebSocket",
  get "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n",
  "GET /a 0")
shape("an Upgrade and garbage", get(H2C, "\0\0\0\4\0\0\0\0\0"), "GET /a 0", 400)
shape("an Upgrade that closes", get("Connection: Upgrade, close\r\nUpgrade: h2c\r\n", SMUGGLED), "GET /a 0", "close")
shape("data behind Connection: close", get("Connection: close\r\n", SMUGGLED), "GET /a 0", "close")
shape("Connection: close among others", get("Connection: x, Close\r\n", SMUGGLED), "GET /a 0", "close")
shape("Connection: close in a second line", get("Connection: x\r\nConnection: close\r\n", SMUGGLED), "GET /a 0",
  "close")
shape("Connection: close behind keep-alive", get("Connection: keep-alive, close\r\n", SMUGGLED), "GET /a 0", "close")
shape("Connection: closed is not close", get("Connection: closed\r\n"), "GET /a 0")
shape("Connection: keep-alive", get("Connection: keep-alive\r\n"), "GET /a 0")
shape("HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n" .. SMUGGLED, "GET /a 0", "close")
shape("HTTP/1.0 that stays", "GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET /a 0")
shape("HTTP/1.0 that both stays and goes", "GET /a HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", "GET /a 0",
  "close")
shape("HTTP/1.0 with a body", "POST /a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "POST /a 3", "close")
shape("pipelined requests", get() .. post("Content-Length: 3\r\n", "abc") .. chunked("3\r\nabc\r\n" .. LAST) .. get(),
  "GET /a 0", "POST /a 3", "POST /a 3", "GET /a 0")
shape("garbage behind a request", get("", "garbage\r\n\r\n"), "GET /a 0", 400)
shape("garbage behind a body", post("Content-Length: 3\r\n", "abcdef\r\n\r\n"), "POST /a 3", 400)
shape("garbage behind the last chunk", chunked(LAST .. "\1\2\3"), "POST /a 0", 400)
shape("an empty line behind a body", post("Content-Length: 3\r\n", "abc\r\n"), "POST /a 3")
shape("a wrong request behind a right one", get("", "GET /b HTTP/1.1\r\n\r\n" .. SMUGGLED), "GET /a 0", 400)

-- One order for every run.
table.sort(list, function(a, b) return a[1] < b[1] end)
M.list = list

return M
