revoke select on public.alembic_version from cairn_writer, cairn_projector, cairn_reader;
