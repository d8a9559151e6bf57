-- name: listed : the braces keep it from being asked of PostgreSQL
select name from {catalogue} where type in ('table', 'view') and name not like 'sqlite!_%' escape '!' order by name

-- name: all_rows
select * from {table}
