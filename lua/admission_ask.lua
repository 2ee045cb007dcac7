#!lua flags=allow-oom
-- Lets a shopper into a show that takes only so many viewers, or keeps a place in the line before it.
-- Free places are for the head of the line: with three of them the first three get in, whoever of
-- them asks first. Who was in already gets in again, also when the show is full.
--
-- KEYS[1] viewers  hash        process -> '<viewers> <seen at, ms>', see viewers_count
-- KEYS[2] line     sorted set  shopper -> number of arrival
-- KEYS[3] heard    sorted set  shopper in the line -> when they asked last (ms)
-- KEYS[4] invited  sorted set  shopper -> until when a place is kept that no count has yet (ms)
-- KEYS[5] inside   sorted set  shopper -> until when they may come again (ms)
-- KEYS[6] patient  string      exists while nobody is dropped for having been silent; it expires
-- ARGV[1] shopper
-- ARGV[2] viewers the show takes
-- ARGV[3] how long a place is kept for who was let in (ms)
-- ARGV[4] silence after which a shopper has left the line (ms)
-- ARGV[5] silence after which a process counts as gone (ms)
-- ARGV[6] most that may stand in the line
--
-- Replies:
--   IN                give a ticket; asking again gets the same answer while the place is kept
--   LINE position     how many are ahead, oneself included: ask again well before ARGV[4]
--   FULL              the line is as long as it may be; nothing was written
-- One call drops at most 100 who are silent or did not come; the next ones drop the others.

local shopper = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function before(key, moment)
  return redis.call('ZRANGE', key, '-inf', moment, 'BYSCORE', 'LIMIT', 0, 100)
end

local used = redis.call('ZCOUNT', KEYS[4], now + 1, '+inf')
local processes = redis.call('HGETALL', KEYS[1])
for i = 1, #processes, 2 do
  local viewers, at = string.match(processes[i + 1], '^(%d+) (%d+)$')
  if now - tonumber(at) <= tonumber(ARGV[5]) then
    used = used + tonumber(viewers)
  end
end

local silence = tonumber(ARGV[4])
local invited = tonumber(redis.call('ZSCORE', KEYS[4], shopper) or '0') > now
local inside = tonumber(redis.call('ZSCORE', KEYS[5], shopper) or '0') > now
if invited or inside then
  return {'IN'}
end

local place = redis.call('ZRANK', KEYS[2], shopper)
local silent = before(KEYS[3], now - silence)
local newest = tonumber(redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2] or now)
-- When nobody at all was heard it was we who were away; whoever waits is given the time to ask.
local away = now - newest > silence / 2
local dropping = #silent > 0 and not away and redis.call('EXISTS', KEYS[6]) == 0
if not place and not dropping and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then
  return {'FULL'}
end

if away then
  redis.call('SET', KEYS[6], 1, 'PX', ARGV[4])
end
if dropping then
  redis.call('ZREM', KEYS[2], unpack(silent))
  redis.call('ZREM', KEYS[3], unpack(silent))
  place = redis.call('ZRANK', KEYS[2], shopper)
end
local ahead = place or redis.call('ZCARD', KEYS[2])
if ahead < tonumber(ARGV[2]) - used then
  local late = before(KEYS[4], now)
  if #late > 0 then
    redis.call('ZREM', KEYS[4], unpack(late))
  end
  redis.call('ZREM', KEYS[2], shopper)
  redis.call('ZREM', KEYS[3], shopper)
  redis.call('ZADD', KEYS[4], now + ARGV[3], shopper)
  redis.call('PEXPIRE', KEYS[4], ARGV[3])
  return {'IN'}
end
if not place then
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2] or 0
  redis.call('ZADD', KEYS[2], last + 1, shopper)
end
redis.call('ZADD', KEYS[3], now, shopper)
if redis.call('PTTL', KEYS[2]) < 3 * silence then
  redis.call('PEXPIRE', KEYS[2], 4 * silence)
  redis.call('PEXPIRE', KEYS[3], 4 * silence)
end
return {'LINE', ahead + 1}
