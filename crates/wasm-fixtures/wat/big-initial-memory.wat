;; world: runtime-host
;; include: lifecycle.wat
;; Wants 64 MiB (1024 pages) before it has done anything.
(memory $memory (export "memory") 1024)
