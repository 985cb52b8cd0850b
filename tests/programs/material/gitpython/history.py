"""A repository made, read and cloned through GitPython; all dates and names are given."""

import io
import os
import tarfile
from pathlib import Path

import git
from git import Actor, Repo

DATE = "2020-02-02T02:02:{:02}+0000"
WHO = Actor("A Writer", "writer@example.com")

repo = Repo.init("repository", initial_branch="main")
home = Path("repository")
for number in range(12):
    for name in f"file{number % 4}.txt", "all.txt":
        with open(home / name, "a") as file:
            file.write(f"line {number}\n")
    repo.git.add("--all")
    when = DATE.format(number)
    made = repo.index.commit(
        f"Commit {number}", author=WHO, committer=WHO, author_date=when, commit_date=when
    )
    print(made.hexsha)

print(repo.git.log("--oneline", "--stat", "-3"))
print([commit.summary for commit in repo.iter_commits(max_count=5)])
for change in repo.head.commit.parents[0].diff(repo.head.commit, create_patch=True):
    print(change.a_path, change.diff)
for commit, lines in repo.blame("HEAD", "all.txt"):
    print(commit.hexsha[:8], lines)
print(repo.is_dirty(), repo.untracked_files, repo.active_branch)
(home / "all.txt").write_text("changed\n")
(home / "new.txt").write_text("new\n")
print(repo.is_dirty(), repo.untracked_files, repo.git.status("--porcelain"))
repo.git.checkout("--", "all.txt")

branch = repo.create_head("branch", "HEAD~3")
branch.checkout()
print(repo.git.merge_base("main", "branch"))
repo.heads.main.checkout()
tag = repo.create_tag("v1", message="a tag", ref="HEAD~1")
print(repo.git.describe("--tags", "HEAD"))

clone = repo.clone(os.path.abspath("clone"))
print(clone.head.commit.hexsha, [ref.name for ref in clone.refs])
for told in clone.remotes.origin.fetch():
    print(told.name, told.flags)
bare = Repo.clone_from(str(home.absolute()), "bare.git", bare=True)
print(bare.bare, bare.head.commit.hexsha)
with open(Path("clone") / "pushed.txt", "w") as file:
    file.write("pushed\n")
clone.index.add(["pushed.txt"])
clone.index.commit("Pushed", author=WHO, committer=WHO, author_date=when, commit_date=when)
clone.create_remote("bare", str(Path("bare.git").absolute()))
for pushed in clone.remotes.bare.push("main"):
    print(pushed.flags, pushed.summary)

packed = io.BytesIO()
repo.archive(packed, "HEAD")
packed.seek(0)
with tarfile.open(fileobj=packed) as archive:
    print([(member.name, member.size) for member in archive])
blob = repo.head.commit.tree["all.txt"]
print(blob.data_stream.read())
print(repo.odb.info(blob.binsha).size)
with open("repository/all.txt", "rb") as file:
    print(repo.git.hash_object("--stdin", istream=file))

try:
    repo.git.rebase("no-such-branch")
except git.GitCommandError as error:
    print(error)
try:
    git.Git(
        ".",
    ).execute(["no-such-git-anywhere"])
except git.GitCommandNotFound as error:
    print(error)
status, out, err = repo.git.execute(
    ["git", "-c", "alias.slow=!sleep 100", "slow"],
    kill_after_timeout=0.5, with_extended_output=True, with_exceptions=False,
)  # fmt: skip
print(status, out, err)
child = repo.git.log("--format=%s", as_process=True)
print(child.stdout.read(), child.wait())
print(os.path.exists("repository/.git/index.lock"))
repo.close()
