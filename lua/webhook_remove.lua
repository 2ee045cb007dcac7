#!lua flags=allow-oom
-- Removes a webhook with all that was kept for it. Its group must go with it, or the orders stream
-- could never be trimmed again.
--
-- KEYS[1] webhooks  hash    name -> JSON
-- KEYS[2] orders    stream  events for the POS
-- KEYS[3] parked    hash    its parked deliveries
-- KEYS[4] redrive   set     orders to be tried again
-- ARGV[1] name      of the webhook, and of its group
--
-- Replies:
--   REMOVED
--   NOT_FOUND   there was none of this name; a group left behind is gone now

local removed = redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('XGROUP', 'DESTROY', KEYS[2], ARGV[1])
end
redis.call('DEL', KEYS[3], KEYS[4])
return {removed == 1 and 'REMOVED' or 'NOT_FOUND'}
