drop function cairn.begin_epoch_1;
drop table cairn.workers, cairn.republications, cairn.published, cairn.relay_lease;
