#!lua flags=allow-oom
-- Creates or changes a show, along scheduled -> live -> ended, and tells its viewers.
--
-- KEYS[1] meta   hash    epoch, server, born
-- KEYS[2] shows  hash    <show> JSON, <show>:state, <show>:highlight
-- KEYS[3] news   channel
-- ARGV[1] show
-- ARGV[2] definition  JSON text to keep, or '' to leave it
-- ARGV[3] state       to move to, or '' to leave it
-- ARGV[4] highlight   '=' and a sku to pin, '=' alone to unpin, or '' to leave it
--
-- Replies:
--   SHOW definition state highlight   as it is now; repeating the request is safe
--   NOT_FOUND                         no such show
--   ENDED                             an ended show does not start again

-- A new shop is served by the server it was opened on.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local time = redis.call('TIME')

local NEXT = {scheduled = {live = true, ended = true}, live = {ended = true}, ended = {}}

local show = redis.call('HMGET', KEYS[2], ARGV[1], ARGV[1] .. ':state', ARGV[1] .. ':highlight')
local definition, state, highlight = show[1], show[2], show[3] or ''
if not definition and ARGV[2] == '' then
  return {'NOT_FOUND'}
end
state = state or 'scheduled'
if ARGV[3] ~= '' and ARGV[3] ~= state and not NEXT[state][ARGV[3]] then
  return {'ENDED'}
end

local was = {state, highlight}
local changed = definition and ARGV[2] ~= '' and ARGV[2] ~= definition
if ARGV[2] ~= '' then
  definition = ARGV[2]
end
if ARGV[3] ~= '' then
  state = ARGV[3]
end
if ARGV[4] ~= '' then
  highlight = string.sub(ARGV[4], 2)
end
if redis.call('HSETNX', KEYS[1], 'epoch', 1) == 1 then
  redis.call('HSET', KEYS[1], 'server', here, 'born', time[1] .. '.' .. time[2])
end
redis.call('HSET', KEYS[2], ARGV[1], definition, ARGV[1] .. ':state', state,
  ARGV[1] .. ':highlight', highlight)
if changed then
  redis.pcall('SPUBLISH', KEYS[3], cjson.encode({show = ARGV[1]}))
end
if state ~= was[1] then
  redis.pcall('SPUBLISH', KEYS[3], cjson.encode({show = ARGV[1], state = state}))
end
if highlight ~= was[2] then
  redis.pcall('SPUBLISH', KEYS[3], cjson.encode({show = ARGV[1], highlight = highlight}))
end
return {'SHOW', definition, state, highlight}
