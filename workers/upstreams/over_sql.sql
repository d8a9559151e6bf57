-- Reading a table of somebody else's database, and writing single rows back. Composed of identifiers.

-- name: read_rows
select {columns} from {table} where {after} and {later} order by {key}

-- name: newest
select max({modified})::text as newest from {table}

-- name: columns_of_table
select attname::text from pg_attribute
where attrelid = to_regclass({name}) and attnum > 0 and not attisdropped

-- name: write_row
update {table} set {changes} where {matches} and {version}::text = %s returning {columns}

-- name: read_row (and whether it is as it was wanted)
select {columns}, ({wanted}) as {done} from {table} where {matches}
