-- Two processes and a pipe, with the posix layer: the child works, the parent reads what it found.
local posix = require "brood.posix"

local r, w = assert(posix.pipe())

local pid = assert(posix.fork())
if pid == 0 then
  posix.close(r)
  local sum = 0
  for i = 1, 1000 do
    sum = sum + i
  end
  posix.write(w, ("the child %d found %d"):format(posix.getpid(), sum))
  os.exit(7)
end

posix.close(w)
local text = ""
repeat
  local chunk = assert(posix.read(r, 4096))
  text = text .. chunk
until chunk == ""
posix.close(r)

local ended, how, status = posix.waitpid(pid)
assert(ended == pid)
print(text)
print(("it %s with status %d"):format(how, status))
