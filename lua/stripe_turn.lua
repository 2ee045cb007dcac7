#!lua flags=allow-oom
-- Calls the next who may ask Stripe: everybody takes a ticket, tickets are called in order, so many
-- a second. One queue for each of Stripe's endpoints, shared by all processes; and a limit over all
-- of them for the account.
--
-- KEYS[1] queue    hash    tail (tickets given), head (tickets called), at (ms the head was
--                          computed for), paused_until (ms)
-- KEYS[2] level    hash    level (requests that may go at once), at (ms)
-- ARGV[1] ticket, or '' to take one
-- ARGV[2] requests a second to this endpoint
-- ARGV[3] requests a second of the account
-- ARGV[4] share of a second's requests that may go at once after a rest
-- ARGV[5] most tickets that may wait
-- ARGV[6] retention of the queue (ms)
--
-- Replies:
--   GO ticket                 its turn: ask now
--   WAIT ticket position wait_ms   how many go before it, itself included, and how long that takes
--   FULL wait_ms              too many wait; no ticket was taken
-- A ticket nobody comes back for is called like the others, and costs one turn.

local rate, account_rate = tonumber(ARGV[2]), tonumber(ARGV[3])
local burst = math.max(1, rate * tonumber(ARGV[4]))
local account_burst = math.max(1, account_rate * tonumber(ARGV[4]))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue = redis.call('HMGET', KEYS[1], 'tail', 'head', 'at', 'paused_until')
local account = redis.call('HMGET', KEYS[2], 'level', 'at')

local tail = tonumber(queue[1] or '0')
local paused_until = tonumber(queue[4] or '0')
local since = math.max(tonumber(queue[3] or now), paused_until)
local head = tonumber(queue[2] or burst)
if now > since then
  head = head + (now - since) * rate / 1000
end
head = math.min(head, tail + burst)

local ticket = tonumber(ARGV[1])
if not ticket or ticket > tail then
  if tail - head >= tonumber(ARGV[5]) then
    return {'FULL', string.format('%.0f', (tail - head) * 1000 / rate)}
  end
  tail = tail + 1
  ticket = tail
end
local level = tonumber(account[1] or account_burst)
level = math.min(account_burst,
  level + math.max(0, now - tonumber(account[2] or now)) * account_rate / 1000)

-- Paused, nobody goes, also those who were called before.
local wait_ms, position = 0, 0
if ticket > head or now < paused_until then
  position = math.max(1, math.ceil(ticket - head))
  wait_ms = math.max(0, ticket - head) * 1000 / rate + math.max(0, paused_until - now)
elseif level < 1 then
  position = 1
  wait_ms = (1 - level) * 1000 / account_rate
else
  level = level - 1
end

redis.call('HSET', KEYS[1], 'tail', string.format('%.0f', tail), 'head',
  string.format('%.6f', head), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('HSET', KEYS[2], 'level', string.format('%.6f', level), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[2], ARGV[6])
if position == 0 then
  return {'GO', string.format('%.0f', ticket)}
end
return {'WAIT', string.format('%.0f', ticket), string.format('%.0f', position),
  string.format('%.0f', math.ceil(wait_ms))}
