-- name: mirror_moved : the position of what was last recorded of a mirror
select e.position from cairn.events e
where e.stream_id = %(mirror)s
order by e.stream_version desc
limit 1
