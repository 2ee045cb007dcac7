#!lua flags=allow-oom
-- Lets this server serve a shop that was rebuilt, in a new epoch: whatever anybody knew of the stock
-- is void.
--
-- KEYS[1] meta   hash    epoch, version, clock (ms), server, born, adrift
-- KEYS[2] lease  string  who rebuilds the shop; given back here
-- KEYS[3] news   channel
-- ARGV[1] who asks
-- ARGV[2] epoch in which it was frozen when the rebuild began
-- ARGV[3] server that was rebuilt, by its name then
--
-- Replies:
--   SERVING epoch   thawed now, or it was served already
--   BUSY            another has the lease by now: whoever that is thaws it
--   LOST            it was not this server, or not this freeze, that was rebuilt: rebuild again

local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'server')
if meta[3] == here then
  return {'SERVING', meta[1]}
end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return {'BUSY'}
end
if here ~= ARGV[3] or meta[1] ~= ARGV[2] then
  return {'LOST'}
end
-- By the clock, for the last epoch may itself be among what was lost.
local time = redis.call('TIME')
local epoch = math.max(tonumber(meta[1]) + 1, tonumber(time[1]))
local version = tonumber(meta[2] or '0') + 1
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'version', version, 'server', here)
redis.call('HSETNX', KEYS[1], 'born', time[1] .. '.' .. time[2])
redis.call('HDEL', KEYS[1], 'adrift')
redis.call('DEL', KEYS[2])
redis.pcall('SPUBLISH', KEYS[3], cjson.encode({epoch = epoch, version = version}))
return {'SERVING', string.format('%.0f', epoch)}
