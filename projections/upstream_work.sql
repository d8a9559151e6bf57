-- What waits for the syncer, of the rows of `connections` and `changesets`.

-- name: waiting_runs : asked for or under way, or failed and to be tried again, as the last run of their connection
select r.connection_id, r.run_id, r.mode, r.trigger, r.status, r.retry_at
from connections_runs r
join connections_mirrors m on m.connection_id = r.connection_id and m.last_run_id = r.run_id
  and m.valid_from <= %(at)s and m.valid_to > %(at)s
where (r.status in ('requested', 'running') or (r.status = 'failed' and r.retry_at is not null))
  and r.valid_from <= %(at)s and r.valid_to > %(at)s

-- name: scheduled : open connections that are synced of themselves, when one was last, and how often since a full one
select c.connection_id, c.schedule, c.updated_at,
  (select max(coalesce(r.began_at, r.requested_at)) from connections_runs r
    where r.connection_id = c.connection_id and r.valid_from <= %(at)s and r.valid_to > %(at)s) as began_at,
  (select count(*) from connections_runs r
    where r.connection_id = c.connection_id and r.status = 'finished' and r.mode = 'incremental'
      and r.valid_from <= %(at)s and r.valid_to > %(at)s
      and r.first_position > (select coalesce(max(f.first_position), %(at)s) from connections_runs f
        where f.connection_id = c.connection_id and f.status = 'finished' and f.mode = 'full'
          and f.valid_from <= %(at)s and f.valid_to > %(at)s)) as since_full
from connections_connections c
where c.status = 'open' and c.mapping_version > 0 and c.schedule is not null
  and c.valid_from <= %(at)s and c.valid_to > %(at)s

-- name: known_run
select first_position, failure, code, facts, retry_at from connections_runs
where connection_id = %(connection_id)s and run_id = %(run_id)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: open_changesets : of which something waits to be pushed, or to be answered
select c.changeset_id, c.connection_id
from changesets_changesets c
where c.finished_at is null and c.valid_from <= %(at)s and c.valid_to > %(at)s
  and exists (select from changesets_records r
    where r.changeset_id = c.changeset_id and r.valid_from <= %(at)s and r.valid_to > %(at)s
      and (r.status = 'pushing' or (r.status = 'waiting' and c.cancelled_at is null)))
order by c.opened_position
