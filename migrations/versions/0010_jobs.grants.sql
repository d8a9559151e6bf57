grant select, insert, update, delete on all tables in schema jobs to cairn_jobs;
grant usage on all sequences in schema jobs to cairn_jobs;
set local search_path to default;
reset role;
