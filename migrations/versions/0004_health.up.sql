-- Health compares the database's revision with the release's.
grant select on public.alembic_version to cairn_writer, cairn_projector, cairn_reader;
