--- What a master has by name: the thing itself in the process that has put it there, what speaks to it in all others.
local by_name = require "brood.by_name"
local lu = require "luaunit"

local CLIENT = "spec.by_name_client"
local T = {}

-- Whoever looks at a field in the common way would ask for the target, and so on without end.
local meta = {
  __index = function(_, key)
    error("asked for " .. key)
  end,
}

local function named(name, own)
  return setmetatable({ name = name, own = own }, meta)
end

local made

function T.setup()
  made = 0
  package.loaded[CLIENT] = {
    new = function(of)
      made = made + 1
      return { speaks_to = of.name }
    end,
  }
end

function T.teardown()
  package.loaded[CLIENT] = nil
end

function T.test_where_it_was_put_a_name_leads_to_the_thing_itself()
  local names, thing = by_name(CLIENT), {}
  local one = names.put(named("a", thing))
  lu.assertTrue(names.find "a" == one and names.target(one) == thing and names.own "a" == thing)
  lu.assertEquals(made, 0)
  lu.assertNil(names.find "b")
  lu.assertNil(names.own "b")
end

function T.test_where_there_is_no_thing_it_leads_to_one_client_that_is_made_once_it_is_needed()
  local names = by_name(CLIENT)
  local one = names.put(named "a")
  lu.assertEquals(made, 0)
  local client = names.target(one)
  lu.assertEquals(client, { speaks_to = "a" })
  lu.assertIs(names.target(one), client)
  lu.assertEquals(made, 1)
  lu.assertNil(names.own "a")
end

function T.test_the_child_of_a_fork_has_a_client_in_place_of_the_thing()
  local names, thing = by_name(CLIENT), {}
  local one = names.put(named("a", thing))
  rawset(one, "born", rawget(one, "born") - 1) -- as the child sees it
  lu.assertEquals(names.target(one), { speaks_to = "a" })
  lu.assertIs(names.own "a", thing)
end

function T.test_one_that_is_hidden_is_known_but_not_found()
  local names = by_name(CLIENT)
  local one = names.put(named("a", {}))
  names.put(named("b", {}))
  names.hide("a", true)
  names.hide("nobody", true)
  lu.assertNil(names.find "a")
  lu.assertTrue(names.get "a" == one)
  lu.assertEquals(names.names(), { "b" })
  names.hide("a", false)
  lu.assertEquals(names.names(), { "a", "b" })
end

function T.test_only_who_has_the_name_is_removed()
  local names, former, present = by_name(CLIENT), {}, {}
  names.put(named("a", former))
  names.put(named("a", present))
  names.remove("a", former)
  lu.assertIs(names.own "a", present)
  names.remove("a", present)
  lu.assertNil(names.get "a")
  names.remove("a", present)
end

return T
