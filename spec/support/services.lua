--- Masters with services for specs: what runs is foreign programs that leave a note when they start and end, so that
--- a spec sees in which order they did, and that there never were two of one.
local brood = require "brood"
local master = require "spec.support.master"
local outcome_of_hup = require "spec.support.outcome"
local s = require "spec.support"
local uv = require "luv"

local M = {}

---@class spec.Services: spec.Master
local Services = setmetatable({}, { __index = master.class })
Services.__index = Services

M.class = Services

--- A program that notes "NAME begin PID" and "NAME end PID", and ends with 0 on TERM. Its further words are shell
--- commands that run before it waits. It has no children then: a shell's might miss the TERM that its group is sent.
M.NOTING = [[
my $name = shift;
my $here = $0 =~ s{/[^/]*$}{}r;
sub note {
  open(my $file, ">>", "$here/notes");
  syswrite($file, "$name $_[0] $$\n");
}
$SIG{TERM} = sub { note("end"); exit 0 };
note("begin");
system($_) for @ARGV;
sleep 1000 while 1;
]]

--- One that takes no notice of TERM.
M.DEAF = M.NOTING:gsub("%$SIG{TERM} = [^\n]*", '$SIG{TERM} = "IGNORE";')

--- A server in Python that answers with its pid on PORT: arguments NAME [seconds before it binds].
M.SERVER = [[
import http.server, os, signal, sys, time, socket, socketserver
name, here = sys.argv[1], os.path.dirname(os.path.abspath(__file__))
def note(what):
    fd = os.open(here + "/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, ("%s %s %d\n" % (name, what, os.getpid())).encode())
    os.close(fd)
note("begin")
def leave(*_):
    note("end")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("%s %d" % (name, os.getpid())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = 128
    allow_reuse_address = True
    daemon_threads = True
port = os.environ["PORT"]
if port.startswith("/"):
    Server.address_family = socket.AF_UNIX
    Server.server_bind = lambda self: socketserver.TCPServer.server_bind(self)
    Answer.address_string = lambda self: "unix"
    Server(port, Answer).serve_forever()
else:
    Server(("127.0.0.1", int(port)), Answer).serve_forever()
]]

local CONFIG = [[
local brood, posix = require "brood", require "brood.posix"
local here = %q
local function note(...)
  local file, list = io.open(here .. "/notes", "a"), { ... }
  for i = 1, select("#", ...) do list[i] = tostring(list[i]) end
  file:write(table.concat(list, " "), "\n")
  file:close()
end
-- A program that notes its begin and its end; the words are shell commands.
local function noting(name, ...) return { "perl", here .. "/noting.pl", name, ... } end
local function deaf(name) return { "perl", here .. "/deaf.pl", name } end
local function server(name, ...) return { "python3", here .. "/server.py", name, ... } end
return { control = "unix:control.sock",
%s
}
]]

--- Write the config (its keys as Lua source, in which noting(name, ...) and server(name) are commands).
---@param config string
---@param files? table<string, string>
function Services:write(config, files)
  s.write_file(self.dir .. "/brood.lua", CONFIG:format(self.dir, config))
  s.write_file(self.dir .. "/noting.pl", M.NOTING)
  s.write_file(self.dir .. "/deaf.pl", M.DEAF)
  s.write_file(self.dir .. "/server.py", M.SERVER)
  for name, text in pairs(files or {}) do
    s.write_file(self.dir .. "/" .. name, text)
  end
end

--- Start a master.
---@param config string
---@param options? { files?: table<string, string>, env?: table, class?: table, dir?: string }
---@return spec.Services
function M.start(config, options)
  options = options or {}
  local dir = options.dir or s.temp_dir()
  local self = setmetatable({ dir = dir, control = dir .. "/control.sock" }, options.class or Services)
  self:write(config, options.files)
  self.program = s.start({ s.binary, "run", dir .. "/brood.lua" }, { env = options.env })
  return self
end

--- Wait until it has started.
function Services:started()
  self.program:expect("control: ", 30)
  return self
end

--- The services of its status, or one.
---@param name? string
function Services:services(name)
  local _, status = self:ask "/status"
  if name then
    return status.services[name] or error("there is no service " .. name)
  end
  return status.services
end

--- Wait until a service is like that: its state, or what a function says of it.
---@param name string
---@param wanted string|fun(service: table): any
---@return table service
function Services:becomes(name, wanted)
  local found
  s.wait(function()
    found = self:services(name)
    if type(wanted) == "function" then
      return wanted(found)
    end
    return found.state == wanted
  end, 20 * s.slow, function()
    return ("%s to become %s; it is %s\n%s"):format(name, tostring(wanted), brood.json.encode(found), self:log())
  end)
  return found
end

--- HUP, and wait for its outcome: whether it went well, and what the log says of it. A new config comes first.
---@param config? string
---@param files? table<string, string>
---@return boolean ok, string log
function Services:hup(config, files)
  if config then
    self:write(config, files)
  end
  local text = outcome_of_hup(self, 20)
  return text:find "reloaded in [^\n]* new\n" ~= nil, text
end

--- How often something is noted.
---@param pattern string
function Services:count(pattern)
  return select(2, self:notes():gsub(pattern, ""))
end

--- What is noted, a list of "NAME WHAT" without pids.
---@return string[]
function Services:story()
  local list = {}
  for name, what in self:notes():gmatch "(%S+) (%S+)[^\n]*\n" do
    list[#list + 1] = name .. " " .. what
  end
  return list
end

--- What asks for a service by POST answers.
---@param name string
---@param what string
---@return integer status, table body
function Services:call(name, what)
  return self:order("POST", ("/services/%s/%s"):format(name, what))
end

--- Wait until these have begun with what they are there for: from then on they see a TERM.
function Services:begun(...)
  for _, name in ipairs { ... } do
    s.wait(function() return self:count("%f[%w]" .. name .. " begin") > self:count("%f[%w]" .. name .. " end") end, 20,
      function() return name .. " to begin; the notes:\n" .. self:notes() .. self:log() end)
  end
end

--- How many of one run at most at a time, by its notes.
---@param name string
---@return integer
function Services:most_at_a_time(name)
  local now, most = 0, 0
  for who, what in self:notes():gmatch "(%S+) (%S+)[^\n]*\n" do
    if who == name then
      now = now + (what == "begin" and 1 or what == "end" and -1 or 0)
      most = math.max(most, now)
    end
  end
  return most
end

--- End it by a signal: its status, and how long it took.
---@param signal string
---@return integer? code, number seconds
function Services:over(signal)
  local seconds, code = s.timed(function()
    self.program:kill(signal or "QUIT")
    return self.program:wait(30)
  end)
  return code, seconds
end

--- A port that is free now.
---@return integer
function M.free_port()
  local socket = uv.new_tcp()
  socket:bind("127.0.0.1", 0)
  local port = socket:getsockname().port
  socket:close()
  return port
end

return M
