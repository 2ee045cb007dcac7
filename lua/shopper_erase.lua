#!lua flags=allow-oom
-- Forgets a shopper: what they hold and have bought, and whose their ended holds were. Those stay,
-- for the same request must not hold anything anew.
--
-- KEYS[1]   meta       hash    epoch, server
-- KEYS[2]   deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[3]   shopper    hash
-- KEYS[3+i] hold       hash    of hold i
-- ARGV[1] shopper
-- ARGV[2] holds  JSON [[hold, pseudonym]], all that the caller found
-- ARGV[3] orders JSON [order], all that the shopper had bought when the caller looked
-- ARGV[4] PEXPIRETIME of the shopper's key when the caller began to look
--
-- Replies:
--   ERASED       now, or before
--   ACTIVE hold  the shopper holds something, maybe since the caller looked: nothing was written
--   SOLD order   the shopper has bought more since the caller looked: nothing was written
--   CHANGED      the shopper has held something since the caller began to look, and whatever became
--                of it may have been missed: nothing was written
--   FROZEN       this server may have lost writes of the shop: rebuild, then repeat

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if meta[1] and meta[2] ~= here then
  return {'FROZEN'}
end

local holds, known, mine = cjson.decode(ARGV[2]), {}, {}
for i, one in ipairs(holds) do
  local hold = redis.call('HMGET', KEYS[3 + i], 'shopper', 'state')
  if hold[1] == ARGV[1] and hold[2] == 'active' then
    return {'ACTIVE', one[1]}
  end
  known['hold:' .. one[1]] = true
  if hold[1] == ARGV[1] then
    mine[#mine + 1] = i
  end
end
for _, order in ipairs(cjson.decode(ARGV[3])) do
  known['order:' .. order] = true
end
for at, field in ipairs(redis.call('HGETALL', KEYS[3])) do
  if at % 2 == 1 and string.find(field, '^hold:') and not known[field] then
    return {'ACTIVE', string.sub(field, 6)}
  end
  if at % 2 == 1 and string.find(field, '^order:') and not known[field] then
    return {'SOLD', string.sub(field, 7)}
  end
end
-- Whoever reserves puts it off. Without the key nobody has, and an earlier copy may have deleted it.
local expires_at = redis.call('PEXPIRETIME', KEYS[3])
if expires_at ~= -2 and string.format('%.0f', expires_at) ~= ARGV[4] then
  return {'CHANGED'}
end

-- WAIT counts from this connection's last write on, so that a repetition must write as well.
redis.call('HSET', KEYS[1], 'epoch', meta[1] or 1)
redis.call('DEL', KEYS[3])
for _, i in ipairs(mine) do
  redis.call('HSET', KEYS[3 + i], 'shopper', holds[i][2])
end
for _, one in ipairs(holds) do
  redis.call('ZREM', KEYS[2], one[1] .. ':' .. ARGV[1])
end
return {'ERASED'}
