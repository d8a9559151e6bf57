drop function cairn.rewrap_keys_1, cairn.erase_key_1, cairn.keks_in_use_1();
drop table cairn.unique_digests, cairn.subject_keys, cairn.tenant_keys;
