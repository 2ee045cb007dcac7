#!lua flags=no-writes
-- Says whether this server may serve a shop, and how far the shop's stock is.
--
-- KEYS[1] meta  hash  epoch, version, clock (ms), server, born, adrift
--
-- Replies:
--   SERVING epoch version clock here born
--   FROZEN epoch version clock here born   the server was promoted or restarted, or somebody missed
--                                          writes: it may have lost some. Rebuild; then it serves
--   NEW                                    nothing is known of the shop
-- here is the server's name now; born tells a shop from another that was opened in its place. The
-- clock is the time of the last promise that the server knows of, at the latest: sales after it may
-- be missing. So what is done in a frozen shop must not move it; and it is 0 when promises were made
-- after some had been lost.

local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'clock', 'server', 'born', 'adrift')
if not meta[1] then
  return {'NEW'}
end
local clock = meta[6] and '0' or meta[3] or '0'
return {meta[4] == here and 'SERVING' or 'FROZEN', meta[1], meta[2] or '0', clock, here, meta[5] or ''}
