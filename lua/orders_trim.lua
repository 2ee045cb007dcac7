#!lua flags=allow-oom
-- Drops old entries of the orders stream: only such that every group has acknowledged, and that are
-- older than what is kept for those who read by cursor. Never by length, which loses unread orders.
--
-- KEYS[1] orders  stream  events for the POS
-- ARGV[1] how long an entry is kept at least (ms)
--
-- Reply: how many entries were dropped; whole nodes of the stream only, so an old entry may stay.

local function earlier(one, other)
  local ms, seq = string.match(one, '^(%d+)%-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)%-(%d+)$')
  if ms ~= other_ms then
    return tonumber(ms) < tonumber(other_ms)
  end
  return tonumber(seq) < tonumber(other_seq)
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bound = string.format('%.0f', math.max(0, now - tonumber(ARGV[1]))) .. '-0'
for _, facts in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #facts, 2 do
    group[facts[i]] = facts[i + 1]
  end
  local needed = group['last-delivered-id']
  if group.pending > 0 then
    needed = redis.call('XPENDING', KEYS[1], group.name)[2]
  end
  if earlier(needed, bound) then
    bound = needed
  end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', bound)
