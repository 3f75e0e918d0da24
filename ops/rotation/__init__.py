"""What a rotation of secrets reads, asks and writes: `writes` at Cloudflare and GitHub, `values` of people."""
