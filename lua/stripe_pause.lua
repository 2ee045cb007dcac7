#!lua flags=allow-oom
-- Stops a queue before Stripe for a while: Stripe said that it was too much, or says nothing.
--
-- KEYS[1] queue  hash    tail, head, level, at (ms), paused_until (ms); see stripe_turn
-- ARGV[1] requests a second to this endpoint
-- ARGV[2] share of a second's requests that may go at once after a rest
-- ARGV[3] how long to stop (ms)
-- ARGV[4] retention of the queue (ms)
-- ARGV[5] longest pause (ms)
--
-- Reply:
--   PAUSED until   when it goes on (ms); a longer pause that was asked for before stays

local rate = tonumber(ARGV[1])
local burst = math.max(1, rate * tonumber(ARGV[2]))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue = redis.call('HMGET', KEYS[1], 'tail', 'head', 'level', 'at', 'paused_until')
-- A clock that was set back must not make a short pause, or a rest, a long one.
local paused_until = math.min(tonumber(queue[5] or '0'), now + tonumber(ARGV[5]))
local since = math.max(math.min(tonumber(queue[4] or now), now), paused_until)
local tail = tonumber(queue[1] or '0')
-- What was called until now stays called; nothing is called before the pause is over.
local gained = math.max(0, now - since) * rate / 1000
local head = math.min(tonumber(queue[2] or burst) + gained, tail + burst)
local level = math.min(tonumber(queue[3] or burst) + gained, burst)
local until_ms = math.max(paused_until, now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'head', string.format('%.6f', head), 'level', string.format('%.6f', level),
  'at', string.format('%.0f', now), 'paused_until', string.format('%.0f', until_ms))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'PAUSED', string.format('%.0f', until_ms)}
