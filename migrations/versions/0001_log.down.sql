-- Roles belong to the whole cluster, and other databases may use them: they stay.
drop schema cairn cascade;
do $$
begin
  execute format('revoke create on database %I from cairn_owner, cairn_projector', current_database());
end $$;
