#!lua flags=allow-oom
-- Calls the next in a queue before Stripe: everybody takes a ticket, tickets are called in order, so
-- many a second. One queue for each of Stripe's endpoints, and one for the account, shared by all
-- processes; a request takes its turn in both.
--
-- KEYS[1] queue    hash    tail (tickets given), head (tickets called), level (turns that may be used
--                          at once), at (ms all of it was computed for), paused_until (ms)
-- KEYS[2] mine     string  the ticket of who asks, so that asking again takes no other
-- ARGV[1] ticket, or '' to take one
-- ARGV[2] requests a second
-- ARGV[3] share of a second's requests that may go at once after a rest
-- ARGV[4] most tickets that may wait
-- ARGV[5] retention of the queue (ms)
-- ARGV[6] retention of a ticket (ms)
-- ARGV[7] longest pause (ms)
--
-- Replies:
--   GO wait_ms                its turn: ask after so long. More than 0 only for who looks late, when
--                             others who were called meanwhile go as well: they keep to the rate
--   WAIT ticket position wait_ms   how many go before it, itself included, and how long that takes
--   FULL wait_ms              too many wait; no ticket was taken
-- A ticket nobody comes back for is called like the others, and costs one turn.

local rate = tonumber(ARGV[2])
local burst = math.max(1, rate * tonumber(ARGV[3]))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue = redis.call('HMGET', KEYS[1], 'tail', 'head', 'level', 'at', 'paused_until')

local tail = tonumber(queue[1] or '0')
-- A clock that was set back must not make a short pause, or a rest, a long one.
local paused_until = math.min(tonumber(queue[5] or '0'), now + tonumber(ARGV[7]))
local since = math.max(math.min(tonumber(queue[4] or now), now), paused_until)
local gained = math.max(0, now - since) * rate / 1000
local head = math.min(tonumber(queue[2] or burst) + gained, tail + burst)
local level = math.min(tonumber(queue[3] or burst) + gained, burst)

local ticket = tonumber(ARGV[1]) or tonumber(redis.call('GET', KEYS[2]) or '')
local new = not ticket or ticket > tail
if new then
  if tail - head >= tonumber(ARGV[4]) then
    return {'FULL', string.format('%.0f', (tail - head) * 1000 / rate)}
  end
  tail = tail + 1
  ticket = tail
end

-- Paused, nobody goes, also those who were called before.
local called = ticket <= head and now >= paused_until
if called then
  level = level - 1
end
local number = string.format('%.0f', ticket)
if new then
  redis.call('SET', KEYS[2], number, 'PX', ARGV[6])
end
redis.call('HSET', KEYS[1], 'tail', string.format('%.0f', tail), 'head',
  string.format('%.6f', head), 'level', string.format('%.6f', level), 'at',
  string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if called then
  return {'GO', string.format('%.0f', math.max(0, math.ceil(-level * 1000 / rate)))}
end
local wait_ms = math.max(0, ticket - head) * 1000 / rate + math.max(0, paused_until - now)
return {'WAIT', number,
  string.format('%.0f', math.max(1, math.ceil(ticket - head))),
  string.format('%.0f', math.ceil(wait_ms))}
