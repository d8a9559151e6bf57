drop function cairn.append_one_2, cairn.append_many_2;
