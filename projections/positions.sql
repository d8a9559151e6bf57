-- name: position
select position from {view}
