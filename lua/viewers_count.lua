#!lua flags=allow-oom
-- Writes how many viewers one process has, forgets processes that fell silent, and adds up the rest.
--
-- KEYS[1] viewers  hash  process -> '<viewers> <seen at, ms>'
-- ARGV[1] process
-- ARGV[2] its viewers; 0 takes the process out
-- ARGV[3] silence after which a process counts as gone (ms)
--
-- Reply: the viewers of all processes.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now))
end
local total = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local viewers, at = string.match(all[i + 1], '^(%d+) (%d+)$')
  if now - tonumber(at) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[i])
  else
    total = total + tonumber(viewers)
  end
end
redis.call('PEXPIRE', KEYS[1], 60000)
return total
