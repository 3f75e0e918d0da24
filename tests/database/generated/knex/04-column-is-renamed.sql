alter table `customers` rename `nick` to `nickname`;
