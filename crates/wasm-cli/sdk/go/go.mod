module airssys

go 1.25
