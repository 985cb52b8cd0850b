"""A repository with the configuration and some files in it, staged."""

import subprocess

for number in range(8):
    with open(f"file{number}.txt", "w") as file:
        file.write("line\n" * number)
for name in "change.me", "forbidden.c":
    with open(name, "w") as file:
        file.write("text\n")
for command in (
    "git init --quiet --initial-branch=main",
    "git config user.name Writer",
    "git config user.email writer@example.com",
    "git add --all",
):
    subprocess.run(command.split(), check=True)
