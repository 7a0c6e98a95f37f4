module request

go 1.25

require airssys v0.0.0

replace airssys => ../..
