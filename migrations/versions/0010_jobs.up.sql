-- The queue of background jobs: what runs by the clock, again and again, or has to be begun anew by another process.
-- Nothing here is truth. What was asked for and what came of it are events; a lost queue is filled again from the log.
-- The library's own schema is made in between this and what follows it in `0010_jobs.grants.sql`.

set role cairn_owner;

create schema jobs;
grant usage on schema jobs to cairn_jobs;
set local search_path = jobs;
