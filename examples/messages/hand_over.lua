-- A descriptor travels with a message: the parent opens a file, the child writes to it.
local posix = require "brood.posix"
local Worker = require "brood.worker"

local w = assert(Worker.fork())

if w:is_child() then
  w:on("message", function(note, fd)
    posix.write(fd, note.text .. "\n")
    posix.close(fd)
    w:exit(0)
  end)
  return
end

local r, write_end = assert(posix.pipe())
w:send({ text = "written by the child, into the parent's pipe" }, write_end)
posix.close(write_end) -- the sent one is a duplicate: ours may be closed at once

w:on("exit", function()
  io.write(posix.read(r, 4096))
  posix.close(r)
end)
