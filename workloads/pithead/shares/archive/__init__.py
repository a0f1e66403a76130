"""The sealed archive: what every sealed height was worth, in bytes that never change.

Answers for the archive's format and chain of hashes, for writing it behind the
seals, for merging cells that it holds, and for windows read from it. It never
decides what counts where: that was decided when the height was sealed.

Pure: `rows` (format, hashes), `windows` (groups and accounts of rows). On the
database: `book` (cells to rows, rows to the table and back), `archiver`,
`compactor`.
"""
