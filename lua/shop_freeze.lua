#!lua flags=allow-oom
-- Stops a shop of which a gateway has seen more than this server knows, or that is to be rebuilt by
-- hand: nothing is held, paid for, sold or lapses until it is rebuilt.
--
-- KEYS[1] meta  hash  epoch, version, server, born, adrift
-- ARGV[1] epoch the caller has seen
-- ARGV[2] version the caller has seen in that epoch; '' stops it in any case
-- ARGV[3] when the shop the caller has seen was opened, or ''
--
-- Replies:
--   FROZEN   rebuild it
--   KEPT     this server knows as much as the caller, or more

local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'born', 'server')
local epoch, version = tonumber(meta[1] or '0'), tonumber(meta[2] or '0')
local seen = tonumber(ARGV[1])
local same = ARGV[3] == '' or meta[3] == ARGV[3]
if ARGV[2] ~= '' and (epoch > seen or (epoch == seen and same and version >= tonumber(ARGV[2]))) then
  return {'KEPT'}
end
if ARGV[2] ~= '' and meta[4] == here then
  -- It went on serving without what it had lost, and its clock with it: see shop_state.
  redis.call('HSET', KEYS[1], 'adrift', '1')
end
redis.call('HSET', KEYS[1], 'server', '', 'epoch', string.format('%.0f', math.max(epoch, seen)))
return {'FROZEN'}
