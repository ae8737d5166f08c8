"""How tools write what is wrong and where: each module knows some of them. Pure."""
