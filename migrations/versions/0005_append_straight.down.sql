drop function cairn.append_one_1, cairn.append_many_1;
alter function cairn.leaf_1 immutable;
