"""OpenAI's dialect: chat completions and Responses on Converse, embeddings and rerank on InvokeModel and Rerank."""
