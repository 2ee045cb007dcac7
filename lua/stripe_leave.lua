#!lua flags=allow-oom
-- Gives a ticket for Stripe back, so that it costs those behind it no turn; see stripe_turn.
--
-- KEYS[1] queue  hash    tail, head (tickets called), level, at (ms), paused_until (ms)
-- ARGV[1] ticket
--
-- Replies:
--   LEFT     those behind it have moved up by one; whoever asks twice moves them up twice
--   CALLED   it was called already

local head = tonumber(redis.call('HGET', KEYS[1], 'head') or '0')
if tonumber(ARGV[1]) <= head then
  return {'CALLED'}
end
redis.call('HSET', KEYS[1], 'head', string.format('%.6f', head + 1))
return {'LEFT'}
