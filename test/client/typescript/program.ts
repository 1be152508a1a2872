import createClient from "openapi-fetch";
import type { paths as ArticlePaths } from "./article.js";
import type { paths as TagPaths } from "./tag.js";

declare const process: { env: Record<string, string> };
const { TAG_URL, ARTICLE_URL, APP_KEY, APP_SECRET } = process.env;

// With both services behind one address, both clients have the same baseUrl.
const tags = createClient<TagPaths, "application/json">({ baseUrl: TAG_URL, headers: { locale: "en" } });
const articles = createClient<ArticlePaths, "application/json">({ baseUrl: ARTICLE_URL, headers: { locale: "en" } });

const login = await articles.POST("/auth", { body: { app_key: APP_KEY!, app_secret: APP_SECRET! } });
if (!login.data) throw new Error(login.error.msg);
const headers = { Authorization: `Bearer ${login.data.data.token}` };

// Create: keep the key, and send the same request again if the connection breaks.
const key = crypto.randomUUID();
const create = () => tags.POST("/api/v1/tags", { headers, params: { header: { "Idempotency-Key": key } }, body: { name: "TypeScript" } });
const tag = (await create()).data!.data;
console.log("created", tag.name, "again", (await create()).data!.data.id === tag.id);
for (const title of ["a", "b", "c", "d", "e"]) {
  await articles.POST("/api/v1/articles", { headers, body: { title, content: title, tag_ids: [tag.id] } });
}

// A batch: all or none, or a result for each.
const batch = await tags.POST("/api/v1/tags/batch", { headers, body: { tags: [{ name: "JavaScript" }, { name: "TypeScript" }] } });
const outcome = batch.data!.data;
if ("results" in outcome) console.log("batch", outcome.failed, outcome.results.map((result) => result.data?.name ?? result.code).join(" "));

// List: each page by the cursor of the page before.
const titles: string[] = [];
let after: string | undefined;
do {
  const page = await articles.GET("/api/v1/articles", { params: { query: { order_by: "-title", page_size: 2, after } } });
  if (!page.data) throw new Error(page.error.msg);
  titles.push(...page.data.list.map((article) => article.title));
  after = page.data.pager.next;
} while (after);
console.log("titles", titles.join(" "));

// Change: read with the token, and send the ETag back.
const read = await tags.GET("/api/v1/tags/{id}", { headers, params: { path: { id: tag.id } } });
const change = () =>
  tags.PUT("/api/v1/tags/{id}", {
    headers: { ...headers, "If-Match": read.response.headers.get("ETag")! },
    params: { path: { id: tag.id } },
    body: { name: "TS" },
  });
console.log("changed", (await change()).data!.data.name, "then", (await change()).error!.code);

// Errors have a code and say which field is wrong.
const invalid = await tags.POST("/api/v1/tags", { headers, body: { name: " " } });
const problem = invalid.error!;
console.log("error", invalid.response.status, problem.code, problem.errors[0]?.field, problem.errors[0]?.code);

// What the description doesn't have is an error of the compiler.
const misspelt = () => {
  // @ts-expect-error
  void tags.GET("/api/v1/tagz");
  // @ts-expect-error
  void articles.POST("/api/v1/articles", { headers, body: { titel: "a" } });
  // @ts-expect-error
  void articles.GET("/api/v1/articles", { params: { query: { order_by: "size" } } });
};
void misspelt;
