--- What is asked for by a signal while something else is under way waits, and comes true: it is never lost.
local lu = require "luaunit"
local upgrade = require "spec.support.upgrade"

return {
  ["USR2 while a reload replaces one worker after the other is obeyed when that is over"] = function()
    local m = upgrade.start { app = upgrade.APP, workers = 3, config = "rollout = { pause = 0.2 }," }
    local old = m:pid()
    m:signal(old, "HUP")
    m:logged "worker 4 %(pid %d+%) is ready"
    m:signal(old, "USR2")
    m:logged "the old master %(pid %d+%) serves as well"
    lu.assertStrMatches(m:log(), ".*reloaded in .*upgrade: the new master is .*")
    local new = m:pid()
    lu.assertNotEquals(new, old)
    m.masters[#m.masters + 1] = new
    m:finish(old)
    m:over()
  end,
}
