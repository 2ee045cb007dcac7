#!lua flags=allow-oom
-- Appends the event of a sold order again, when reconciling did not find it in the stream. The POS
-- drops it by its event id if it has it already.
--
-- KEYS[1] order   hash
-- KEYS[2] orders  stream  events for the POS
-- ARGV[1] order
-- ARGV[2] event id that was not found
--
-- Replies:
--   RESTORED entry   appended now
--   KEPT entry       appended by an earlier call, and still there
--   REFUSED phase    the order is not sold, or has another event by now: look again

local order = redis.call('HMGET', KEYS[1], 'phase', 'event_id', 'event', 'units', 'restored')
local sold = order[1] == 'committed' or order[1] == 'captured'
if not sold or order[2] ~= ARGV[2] or not order[3] then
  return {'REFUSED', order[1] or ''}
end
if order[5] then
  local there = redis.call('XRANGE', KEYS[2], order[5], order[5])[1]
  if there and there[2][4] == ARGV[2] then
    return {'KEPT', order[5]}
  end
end
local entry = redis.call('XADD', KEYS[2], '*', 'order', ARGV[1], 'event_id', ARGV[2],
  'units', order[4] or '[]', 'event', order[3])
redis.call('HSET', KEYS[1], 'restored', entry)
return {'RESTORED', entry}
